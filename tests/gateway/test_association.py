"""Who may call: the policy by itself, then real associations that are rejected with the right three numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import UID_dictionary
from pynetdicom.presentation import build_context

from config.errors import StorageUnavailable
from gateway import contexts
from gateway.association import (
    LOCAL_LIMIT,
    UNKNOWN_CALLED_AE,
    UNKNOWN_CALLING_AE,
    AssociationPolicy,
    Rejected,
)
from storage.spool import Spool
from tests.gateway.conftest import House

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, IMPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.50"


@pytest.fixture
def policy(house: House) -> AssociationPolicy:
    return AssociationPolicy(house.people, house.audit, house.spool, ae_title="CONSILIUM", limit=2)


def test_a_known_caller_gets_its_site(policy: AssociationPolicy, house: House) -> None:
    origin = policy.admit("KRSK_PACS", "CONSILIUM", "10.0.0.7")
    assert origin.site_code == "krsk"
    assert origin.site_id == house.people.site("krsk").id
    assert (origin.actor, origin.profile, origin.address) == ("ae:KRSK_PACS", "clinical", "10.0.0.7")


def test_a_route_gives_its_profile(policy: AssociationPolicy, house: House) -> None:
    house.people.add_route("TEACH", specialty="oncology", profile="teaching")
    assert policy.admit("KRSK_PACS", "TEACH", "").profile == "teaching"
    assert policy.admit("KRSK_PACS", "ONCO_URG", "").called_ae == "ONCO_URG"


@pytest.mark.parametrize("calling", ["STRANGER", "", "krsk_pacs", "../../etc", "' OR '1'='1", "\u0000"])
def test_an_unknown_caller_is_rejected_and_recorded(
    policy: AssociationPolicy, house: House, calling: str
) -> None:
    with pytest.raises(Rejected) as rejected:
        policy.admit(calling, "CONSILIUM", "10.0.0.9")
    assert rejected.value.rejection == UNKNOWN_CALLING_AE
    (event,), _ = house.audit.search(action="association.reject")
    assert (event.outcome, event.origin) == ("failure", "10.0.0.9")


def test_an_unknown_called_title_is_rejected(policy: AssociationPolicy) -> None:
    with pytest.raises(Rejected) as rejected:
        policy.admit("KRSK_PACS", "ORTHANC", "")
    assert rejected.value.rejection == UNKNOWN_CALLED_AE


def test_an_inactive_site_is_rejected(policy: AssociationPolicy, house: House) -> None:
    house.people.set_site_active("krsk", False)
    with pytest.raises(Rejected) as rejected:
        policy.admit("KRSK_PACS", "CONSILIUM", "")
    assert rejected.value.rejection == UNKNOWN_CALLING_AE


def test_too_many_associations_are_rejected_for_now(policy: AssociationPolicy) -> None:
    policy.admit("KRSK_PACS", "CONSILIUM", "", associations=1)
    with pytest.raises(Rejected) as rejected:
        policy.admit("KRSK_PACS", "CONSILIUM", "", associations=2)
    assert rejected.value.rejection == LOCAL_LIMIT


def test_a_full_disk_rejects_for_now(house: House, tmp_path: Path) -> None:
    full = AssociationPolicy(
        house.people, house.audit, Spool(tmp_path / "full", 1 << 60), ae_title="CONSILIUM", limit=2
    )
    with pytest.raises(Rejected) as rejected:
        full.admit("KRSK_PACS", "CONSILIUM", "")
    assert rejected.value.rejection == LOCAL_LIMIT


def test_a_database_that_does_not_answer_rejects_for_now(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(calling_ae: str) -> None:
        raise StorageUnavailable("the database does not answer; try again")

    monkeypatch.setattr(house.people, "site_by_ae", down)
    policy = AssociationPolicy(house.people, house.audit, house.spool, ae_title="CONSILIUM", limit=2)
    with pytest.raises(Rejected) as rejected:
        policy.admit("KRSK_PACS", "CONSILIUM", "")
    assert rejected.value.rejection == LOCAL_LIMIT


# --- presentation contexts ---


def test_every_storage_class_of_the_standard_is_accepted_but_what_is_no_instance_of_a_study() -> None:
    classes = contexts.standard_storage_classes()
    assert len(classes) > 180
    assert CT in classes
    assert "1.2.840.10008.5.1.4.1.1.66.7" in classes  # newer than pydicom's dictionary
    assert "1.2.840.10008.5.1.4.1.1.6" in classes  # retired ultrasound, still in archives
    assert not classes & {"1.2.840.10008.1.3.10", "1.2.840.10008.1.20.1", "1.2.840.10008.5.1.4.38.1"}


def test_every_self_contained_transfer_syntax_is_accepted() -> None:
    known = contexts.transfer_syntaxes()
    refused = {uid for uid, row in UID_dictionary.items() if row[1] == "Transfer Syntax"} - known
    assert not any(uid.startswith("1.2.840.10008.1.2.4.5") for uid in refused)
    assert {"1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"} <= known
    assert {"1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.1.99"} <= known
    assert all(
        "JPIP" in UID_dictionary[uid][0]
        or uid.startswith(("1.2.840.10008.1.2.6", "1.2.840.10008.1.2.7"))
        or "Papyrus" in UID_dictionary[uid][0]
        for uid in refused
    )


def test_the_senders_first_transfer_syntax_wins() -> None:
    classes = frozenset({CT})
    for order in ([JPEG, EXPLICIT, IMPLICIT], [IMPLICIT, JPEG]):
        (answer,) = contexts.supported([build_context(CT, order)], classes)
        assert [str(syntax) for syntax in answer.transfer_syntax] == order


def test_unknown_classes_and_encodings_are_left_out() -> None:
    requested = [
        build_context("1.2.826.0.1.999", EXPLICIT),
        build_context(CT, ["1.2.840.10008.1.2.4.94", "1.2.3.4"]),
        build_context("1.2.840.10008.5.1.4.1.2.2.1", EXPLICIT),  # query, not stored
    ]
    assert contexts.supported(requested, frozenset({CT})) == []
    private = contexts.supported(requested, frozenset({"1.2.826.0.1.999"}))
    assert [str(context.abstract_syntax) for context in private] == ["1.2.826.0.1.999"]


def test_private_classes_are_served_as_storage() -> None:
    from pynetdicom.service_class import StorageServiceClass
    from pynetdicom.sop_class import uid_to_service_class

    contexts.adopt(["1.2.826.0.1.999", CT])
    contexts.adopt(["1.2.826.0.1.999"])
    assert uid_to_service_class("1.2.826.0.1.999") is StorageServiceClass
