"""The JSON API under `/api/v1`, and its OpenAPI document at `/api/openapi.json`."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from viewer.api import consultations
from viewer.api.registry import Api
from viewer.auth import public
from viewer.services import Services

PREFIX = "/api/v1"


def create_blueprint(services: Services) -> Blueprint:
    """Every route below `/api`."""
    whole = Blueprint("api", __name__, url_prefix="/api")
    first = Blueprint("v1", __name__, url_prefix="/v1")
    api = Api(first, PREFIX)
    consultations.register(api, services)
    document = api.document()
    document["paths"]["/api/openapi.json"] = {
        "get": {
            "operationId": "openapi",
            "summary": "This document",
            "security": [],
            "responses": {
                "200": {
                    "description": "OpenAPI 3.1",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                }
            },
        }
    }

    @whole.get("/openapi.json")
    @public
    def openapi() -> ResponseReturnValue:
        response = jsonify(document)
        response.headers["Cache-Control"] = "no-cache"
        return response

    whole.register_blueprint(first)
    return whole
