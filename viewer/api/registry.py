"""One declaration per operation of the API makes the route, the access rule, the check of the body and the document.

What `/api/openapi.json` says is therefore what is enforced; an operation cannot be left out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

import config
from config.errors import Invalid
from viewer.api.schemas import SCHEMAS
from viewer.auth import ROLES, public, roles

View = Callable[..., Any]
Schema = Mapping[str, Any]

_ERRORS = {
    "400": "The request is malformed; the message says where",
    "401": "Nobody is signed in, or the token is not known",
    "403": "The caller's role does not include this",
    "404": "It does not exist, or the caller may not know that it does",
    "409": "It has changed meanwhile, or its state does not allow this",
    "429": "Too many attempts",
    "503": "A store does not answer; try again",
}


def ref(name: str) -> dict[str, str]:
    """A reference to one of `viewer.api.schemas.SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: what the document says of it and what the route enforces."""

    method: str
    path: str
    name: str
    summary: str
    description: str
    roles: tuple[str, ...]
    body: str | None
    answer: Schema | None
    status: int
    errors: tuple[str, ...]
    query: Mapping[str, Schema] = field(default_factory=dict)


class Api:
    """Operations below one address, registered on a blueprint."""

    def __init__(self, blueprint: Blueprint, base: str) -> None:
        self.blueprint = blueprint
        self.base = base
        self.operations: list[Operation] = []

    def operation(
        self,
        method: str,
        path: str,
        summary: str,
        *,
        roles_: Sequence[str] = ROLES,
        body: str | None = None,
        answer: str | Schema | None = None,
        status: int = 200,
        errors: Sequence[str] = (),
        query: Mapping[str, Schema] | None = None,
    ) -> Callable[[View], View]:
        """Declare a view; it gets path variables as arguments, and `body` checked against its schema.

        Parameters
        ----------
        path
            In Flask's notation, below the blueprint's prefix.
        roles_
            Who may call it; none: everybody.
        body, answer
            Names of schemas (an answer may also be a schema itself).
        errors
            Statuses it may answer besides 401 and 403.
        """
        schema = ref(answer) if isinstance(answer, str) else answer

        def register(view: View) -> View:
            name = view.__name__
            said = " ".join((view.__doc__ or "").split())
            self.operations.append(
                Operation(
                    method,
                    path,
                    name,
                    summary,
                    said,
                    tuple(roles_),
                    body,
                    schema,
                    status,
                    tuple(errors),
                    query or {},
                )
            )

            @wraps(view)
            def called(**arguments: Any) -> ResponseReturnValue:
                if body is not None:
                    arguments["body"] = checked_body(body)
                result = view(**arguments)
                return ("", 204) if result is None else (jsonify(result), status)

            declared = roles(*roles_)(called) if roles_ else public(called)
            self.blueprint.add_url_rule(path, name, declared, methods=[method])
            return view

        return register

    def document(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document of everything registered."""
        paths: dict[str, dict[str, Any]] = {}
        for operation in self.operations:
            path, parameters = _path(self.base + operation.path)
            described = _describe(operation)
            if parameters or operation.query:
                described["parameters"] = [*parameters, *_query(operation.query)]
            paths.setdefault(path, {})[operation.method.lower()] = described
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Consilium",
                "version": config.__version__,
                "summary": "Tele-consultation: requests, opinions and annotations",
                "description": "Images are served by DICOMweb (PS3.18) under /dicom-web. All UIDs are pseudonyms.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "security": [{"token": []}, {"session": []}],
            "paths": paths,
            "components": {
                "schemas": SCHEMAS,
                "securitySchemes": {
                    "token": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "consilium token create LOGIN",
                    },
                    "session": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": "consilium",
                        "description": "The pages' session; changes also need the header X-CSRFToken",
                    },
                },
            },
        }


def checked_body(name: str) -> dict[str, Any]:
    """The JSON body of this request, if it fits the schema; otherwise `Invalid` says where it does not."""
    body = request.get_json(silent=True)
    if body is None and not request.get_data(cache=True):
        body = {}
    if not isinstance(body, dict):
        raise Invalid("the body has to be a JSON object, sent as application/json")
    schema = {**ref(name), "components": {"schemas": SCHEMAS}}
    error = best_match(Draft202012Validator(schema).iter_errors(body))
    if error is not None:
        where = "/".join(str(part) for part in error.absolute_path) or "the body"
        raise Invalid(f"{where}: {_complaint(error)}")
    return body


def _complaint(error: Any) -> str:
    """What is wrong, without the value: it may be a text about a patient."""
    match error.validator:
        case "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            return f"{', '.join(missing)} is missing"
        case "additionalProperties":
            return f"only {', '.join(error.schema.get('properties', {}))} may be given"
        case "enum":
            return f"must be one of {', '.join(map(str, error.validator_value))}"
        case "type":
            return f"must be of type {error.validator_value}"
        case "maxLength":
            return f"at most {error.validator_value} characters"
        case "minLength":
            return f"at least {error.validator_value} characters"
    return f"does not fulfil {error.validator}"


def _path(rule: str) -> tuple[str, list[dict[str, Any]]]:
    parts, parameters = [], []
    for part in rule.split("/"):
        if part.startswith("<"):
            name = part[1:-1]
            parts.append(f"{{{name}}}")
            parameters.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})
        else:
            parts.append(part)
    return "/".join(parts), parameters


def _query(query: Mapping[str, Schema]) -> list[dict[str, Any]]:
    result = []
    for name, schema in query.items():
        plain = {key: value for key, value in schema.items() if key != "description"}
        parameter = {"name": name, "in": "query", "schema": plain}
        if "description" in schema:
            parameter["description"] = schema["description"]
        result.append(parameter)
    return result


def _describe(operation: Operation) -> dict[str, Any]:
    if operation.answer is None:
        good: dict[str, Any] = {"204": {"description": "Done"}}
    else:
        content = {"application/json": {"schema": operation.answer}}
        good = {str(operation.status): {"description": operation.summary, "content": content}}
    statuses = sorted({*operation.errors, *(("401", "403") if operation.roles else ())})
    error = {"application/json": {"schema": ref("Error")}}
    bad = {status: {"description": _ERRORS[status], "content": error} for status in statuses}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {**good, **bad},
    }
    if operation.description:
        described["description"] = operation.description
    if operation.roles:
        described["x-roles"] = list(operation.roles)
    else:
        described["security"] = []
    if operation.body is not None:
        content = {"application/json": {"schema": ref(operation.body)}}
        described["requestBody"] = {"required": True, "content": content}
    return described
