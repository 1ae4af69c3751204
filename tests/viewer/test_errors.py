"""The table from exception to status, the fixed shape of an error, and what an error must not tell."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs
from werkzeug.exceptions import NotFound as HttpNotFound

from config import errors
from tests.viewer.deployment import Browser, Deployment
from viewer.auth import Unauthenticated, public
from viewer.errors import TABLE, TooManyAttempts, answer_for

EXPECTED = {
    Unauthenticated("x"): 401,
    errors.NotFound("x"): 404,
    errors.Forbidden("x"): 403,
    errors.Conflict("x"): 409,
    errors.Invalid("x"): 400,
    TooManyAttempts(60): 429,
    errors.StorageFull("x"): 507,
    errors.StorageUnavailable("x"): 503,
    errors.TransientError("x"): 503,
    errors.PermanentError("x"): 422,
    errors.ConfigurationError("x"): 422,
    HttpNotFound(): 404,
    RuntimeError("x"): 500,
}


@pytest.mark.parametrize(("error", "status"), EXPECTED.items(), ids=lambda v: type(v).__name__)
def test_each_error_has_its_status(error: Exception, status: int) -> None:
    assert answer_for(error).status == status


def test_no_row_of_the_table_is_shadowed_by_one_above_it() -> None:
    kinds = [kind for kind, _ in TABLE]
    assert all(not issubclass(later, earlier) for i, earlier in enumerate(kinds) for later in kinds[i + 1 :])


def _broken(web: Deployment, errors_by_path: dict[str, Exception]) -> Browser:
    """A browser before an application some of whose addresses raise."""
    for path, error in errors_by_path.items():

        def view(error: Exception = error) -> None:
            raise error

        web.app.add_url_rule(path, path, public(view))
    return web.browser()


@pytest.mark.parametrize("prefix", ["/api/v1", "/dicom-web"])
def test_programs_get_one_shape(web: Deployment, prefix: str) -> None:
    conflict = errors.Conflict("stale")
    conflict.detail = {"revision": 3}  # type: ignore[attr-defined]
    down = errors.StorageUnavailable("the database does not answer")
    browser = _broken(web, {f"{prefix}/broken": conflict, f"{prefix}/down": down})
    answer = browser.get(f"{prefix}/broken")
    assert answer.status_code == 409
    assert answer.json == {"error": {"code": "conflict", "message": "stale", "detail": {"revision": 3}}}
    assert browser.get(f"{prefix}/nowhere").json["error"]["code"] == "not-found"
    answer = browser.get(f"{prefix}/down")
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0


def test_our_own_bug_tells_its_caller_nothing_and_the_log_where_it_is(web: Deployment) -> None:
    secret = "PatientName is Ivanov"
    browser = _broken(web, {path: ValueError(secret) for path in ("/api/v1/bug", "/bug")})
    with capture_logs() as lines:
        for path in ("/api/v1/bug", "/bug"):
            answer = browser.get(path)
            assert answer.status_code == 500 and secret not in answer.text
    assert [line["error"] for line in lines if line["event"] == "request.failed"] == ["ValueError"] * 2
    assert isinstance(lines[-1]["exc_info"], ValueError)  # `config.logs` writes its places, never its words
    assert browser.get("/api/v1/bug").json == {
        "error": {"code": "internal", "message": "internal error", "detail": {}}
    }


def test_an_error_page_is_possible_without_a_database(
    web: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = web.browser("orlova")

    def down(_: int) -> None:
        raise errors.StorageUnavailable("the database does not answer")

    monkeypatch.setattr(web.storage.people, "user_by_id", down)
    answer = browser.get("/worklist")
    assert answer.status_code == 503 and "The archive does not answer" in answer.text


def test_a_wrong_method_says_which_are_right(web: Deployment) -> None:
    answer = web.browser("orlova").call("DELETE", "/api/v1/me")
    assert answer.status_code == 405 and "GET" in answer.headers["Allow"]
    assert answer.json["error"]["code"] == "method-not-allowed"


def test_an_unforeseen_database_error_is_our_bug() -> None:
    assert answer_for(OperationalError("select", {}, Exception("boom"))).status == 500
