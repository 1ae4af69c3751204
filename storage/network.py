"""The network's hospitals, centres and routes: who may send, who answers, what a called AE title opens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

import config
from config.errors import Conflict, Invalid, NotFound
from config.specialties import SPECIALTIES, URGENCIES
from storage.audit import Audit
from storage.database import Database
from storage.schema import Centre, CentreSpecialty, Route, Site, SiteAE, SiteReturn
from storage.targets import check_target, parse_ae_title

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
# What a site's columns alone do not hold, loaded so that it can be read after the session.
_PARTS = (selectinload(Site.ae_titles), selectinload(Site.returns))
_PROFILES = Path(config.__file__).parent / "profiles"


def check_code(code: str) -> str:
    """A short name for commands and audit lines; it goes into derived pseudonyms, so it never changes."""
    if not _CODE.fullmatch(code):
        raise Invalid(f'"{code}" is not a code: 1 to 32 letters, digits, dots, hyphens or underscores')
    return code


def _check_name(name: str) -> str:
    clean = " ".join(name.split())
    if not clean or len(clean) > 200:
        raise Invalid("a name has 1 to 200 characters")
    return clean


def _check_specialty(code: str) -> str:
    if code not in SPECIALTIES:
        raise Invalid(f'there is no specialty "{code}"; there are {", ".join(SPECIALTIES)}')
    return code


def _check_profile(name: str) -> str:
    known = sorted(p.stem for p in _PROFILES.glob("*.toml"))
    if name not in known:
        raise Invalid(f'there is no de-identification profile "{name}"; there are {", ".join(known)}')
    return name


class Network:
    """Sites, centres and routes. Every change is audited in its own transaction.

    ``actor`` is as in the audit trail: ``user:LOGIN``, ``cli:ACCOUNT`` for the command line, ``system`` for ourselves.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._audit = Audit(db)

    # --- sites ---

    def add_site(
        self,
        code: str,
        name: str,
        *,
        ae_titles: Iterable[str],
        region: str = "",
        returns: Iterable[tuple[str, str]] = (),
        actor: str = "system",
    ) -> Site:
        """Add a hospital.

        Parameters
        ----------
        ae_titles
            Calling AE titles it sends from; each belongs to one site only.
        returns
            Pairs of channel (``dicom``, ``mllp``, ``fhir``) and target, where its opinions go.

        Raises
        ------
        Invalid
            A code, AE title or target of the wrong form.
        Conflict
            The code or an AE title is taken.
        """
        titles = sorted({parse_ae_title(t) for t in ae_titles})
        if not titles:
            raise Invalid("a site needs at least one calling AE title")
        targets = sorted({(channel, check_target(channel, target)) for channel, target in returns})
        with self._db.write() as session:
            if session.scalar(select(Site.id).where(Site.code == check_code(code))) is not None:
                raise Conflict(f'site "{code}" exists already')
            taken = session.scalars(select(SiteAE.ae_title).where(SiteAE.ae_title.in_(titles))).all()
            if taken:
                raise Conflict(f"AE title {', '.join(taken)} belongs to another site")
            site = Site(code=code, name=_check_name(name), region=" ".join(region.split())[:100])
            site.ae_titles = [SiteAE(ae_title=t) for t in titles]
            site.returns = [SiteReturn(channel=c, target=t) for c, t in targets]
            session.add(site)
            session.flush()
            details = {"name": site.name, "ae_titles": titles, "returns": [list(t) for t in targets]}
            self._note(session, "site.add", f"site:{code}", actor, details)
        return site

    def sites(self, *, active_only: bool = False) -> Sequence[Site]:
        query = select(Site).order_by(Site.code).options(*_PARTS)
        with self._db.read() as session:
            return session.scalars(query.where(Site.active) if active_only else query).all()

    def site(self, code: str) -> Site:
        """The site of a code, with its AE titles and returns; raises `NotFound`."""
        with self._db.read() as session:
            found = session.scalar(select(Site).where(Site.code == code).options(*_PARTS))
        if found is None:
            raise NotFound(f'there is no site "{code}"; see consilium site list')
        return found

    def site_by_ae(self, calling_ae: str) -> Site | None:
        """The active site that sends from this calling AE title."""
        query = select(Site).join(SiteAE).where(SiteAE.ae_title == calling_ae.strip(" "), Site.active)
        with self._db.read() as session:
            return session.scalar(query.options(*_PARTS))

    def set_site_active(self, code: str, active: bool, *, actor: str = "system") -> None:
        """Let a hospital send, or no longer; what it sent stays."""
        with self._db.write() as session:
            site = session.scalar(select(Site).where(Site.code == code))
            if site is None:
                raise NotFound(f'there is no site "{code}"')
            site.active = active
            self._note(session, "site.activate" if active else "site.deactivate", f"site:{code}", actor, {})

    # --- centres ---

    def add_centre(
        self, code: str, name: str, *, specialties: Iterable[str], actor: str = "system"
    ) -> Centre:
        """Add a centre that answers in some specialties; raises `Invalid` or `Conflict`."""
        wanted = list(dict.fromkeys(_check_specialty(s) for s in specialties))
        if not wanted:
            raise Invalid("a centre needs at least one specialty")
        with self._db.write() as session:
            if session.scalar(select(Centre.id).where(Centre.code == check_code(code))) is not None:
                raise Conflict(f'centre "{code}" exists already')
            centre = Centre(code=code, name=_check_name(name))
            centre.specialties = [CentreSpecialty(specialty=s) for s in wanted]
            session.add(centre)
            session.flush()
            details = {"name": centre.name, "specialties": wanted}
            self._note(session, "centre.add", f"centre:{code}", actor, details)
        return centre

    def centres(self, *, active_only: bool = False) -> Sequence[Centre]:
        query = select(Centre).order_by(Centre.code).options(selectinload(Centre.specialties))
        with self._db.read() as session:
            return session.scalars(query.where(Centre.active) if active_only else query).all()

    def centre(self, code: str) -> Centre:
        """The centre of a code, with its specialties; raises `NotFound`."""
        with self._db.read() as session:
            query = select(Centre).where(Centre.code == code).options(selectinload(Centre.specialties))
            found = session.scalar(query)
        if found is None:
            raise NotFound(f'there is no centre "{code}"; see consilium centre list')
        return found

    # --- routes ---

    def add_route(
        self,
        called_ae: str,
        *,
        specialty: str,
        urgency: str = "planned",
        centre_code: str | None = None,
        profile: str = "clinical",
        actor: str = "system",
    ) -> Route:
        """Let a called AE title open consultations by itself; raises `Invalid`, `Conflict` or `NotFound`."""
        title = parse_ae_title(called_ae)
        _check_specialty(specialty)
        _check_profile(profile)
        if urgency not in URGENCIES:
            raise Invalid(f'there is no urgency "{urgency}"; there are {", ".join(URGENCIES)}')
        with self._db.write() as session:
            if session.get(Route, title) is not None:
                raise Conflict(f"route {title} exists already")
            centre_id = None
            if centre_code:
                centre_id = session.scalar(select(Centre.id).where(Centre.code == centre_code))
                if centre_id is None:
                    raise NotFound(f'there is no centre "{centre_code}"; see consilium centre list')
                answers = session.get(CentreSpecialty, (centre_id, specialty))
                if answers is None:
                    raise Invalid(f'centre "{centre_code}" does not answer in {specialty}')
            route = Route(
                called_ae=title, specialty=specialty, urgency=urgency, centre_id=centre_id, profile=profile
            )
            session.add(route)
            session.flush()
            details = {
                "specialty": specialty,
                "urgency": urgency,
                "centre": centre_code or "",
                "profile": profile,
            }
            self._note(session, "route.add", f"route:{title}", actor, details)
        return route

    def routes(self) -> Sequence[Route]:
        with self._db.read() as session:
            return session.scalars(select(Route).order_by(Route.called_ae)).all()

    def route(self, called_ae: str) -> Route | None:
        """The route of a called AE title, or None."""
        with self._db.read() as session:
            return session.get(Route, called_ae.strip(" "))

    def remove_route(self, called_ae: str, *, actor: str = "system") -> None:
        """Close a route; raises `NotFound`."""
        with self._db.write() as session:
            route = session.get(Route, called_ae.strip(" "))
            if route is None:
                raise NotFound(f"there is no route {called_ae.strip(' ')}")
            session.delete(route)
            self._note(session, "route.remove", f"route:{route.called_ae}", actor, {})

    def _note(
        self, session: Session, action: str, subject: str, actor: str, details: Mapping[str, object]
    ) -> None:
        self._audit.record(action, actor=actor, subject=subject, details=details, session=session)
