"""The DICOM port: C-ECHO and C-STORE, fenced (PS3.4 A and B, PS3.7, PS3.8).

pynetdicom negotiates; who may call is `gateway.association`, what is accepted is `gateway.contexts`. From the
A-ASSOCIATE-AC on, the socket is read by `gateway.pdata`, within the fences of `gateway.receiving`, and what a request
leads to is `gateway.storage_scp`.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import structlog
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from config.errors import ConfigurationError
from config.settings import Settings
from gateway import contexts
from gateway.association import LOCAL_LIMIT, AssociationPolicy, Rejected
from gateway.pdata import Context, Conversation
from gateway.receiving import FencedSocket, IncomingDataSet
from gateway.storage_scp import Reception, StorageSCP
from gateway.takeover import take_over

if TYPE_CHECKING:
    from gateway.opening import Gateway

log = structlog.get_logger(__name__)

ACSE_SECONDS = 30.0  # for the A-ASSOCIATE-RQ after connecting, and for a release
IDLE_SECONDS = 300.0  # an association nobody uses is aborted
ACCEPT_SECONDS = 0.1  # between two looks at whether to stop
HANDSHAKE_SECONDS = 10.0  # for a TLS handshake
END_SECONDS = 2.0  # for an aborted association to end
CONNECTIONS_PER_ASSOCIATION = 4  # those that have not said who they are take no association's place


class DicomServer:
    """One listening DICOM port.

    Parameters
    ----------
    policy
        Decides about associations.
    scp
        Answers C-STORE.
    shared_port
        Several processes listen on the port, each gets its share of the connections (SO_REUSEPORT).
    """

    def __init__(
        self, settings: Settings, policy: AssociationPolicy, scp: StorageSCP, *, shared_port: bool = False
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._scp = scp
        self._shared_port = shared_port
        self._classes = contexts.standard_storage_classes() | set(settings.private_sop_classes)
        self._receptions: WeakKeyDictionary[Association, Reception] = WeakKeyDictionary()
        self._server: FencedServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The TCP port, once started."""
        assert self._server is not None, "start the server first"
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Listen, and serve in threads of this process.

        Raises
        ------
        ConfigurationError
            The address cannot be listened on, or the TLS files cannot be used.
        """
        _quiet_pynetdicom()
        contexts.adopt(self._classes)
        address = (self._settings.dicom_host, self._settings.dicom_port)
        try:
            self._server = self._make_server(address)
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {address[0]}:{address[1]} for DICOM: {error.strerror or error}"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(ACCEPT_SECONDS,), name="dicom-accept", daemon=True
        )
        self._thread.start()
        log.info("dicom.listening", host=address[0], port=self.port, ae_title=self._settings.dicom_ae_title)

    def stop(self, grace: float = 10.0) -> None:
        """Accept nobody any more, let open associations end for `grace` seconds, abort the rest."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        until = time.monotonic() + grace
        while server.active_associations and time.monotonic() < until:
            time.sleep(0.05)
        for association in server.active_associations:
            association.abort()
        for association in server.active_associations:
            association.join(END_SECONDS)  # what it brought is still to be written down
        log.info("dicom.stopped")

    def _make_server(self, address: tuple[str, int]) -> FencedServer:
        ae = AE(self._settings.dicom_ae_title)
        ae.maximum_pdu_size = self._settings.dicom_max_pdu
        ae.acse_timeout = ACSE_SECONDS
        ae.network_timeout = IDLE_SECONDS
        ae.maximum_associations = (
            self._connections
        )  # the policy counts associations; here connections are counted
        server = FencedServer(
            ae,
            address,
            self._settings.dicom_ae_title,
            [
                build_context(contexts.VERIFICATION)
            ],  # replaced at each request by what the policy lets through
            ssl_context=tls_context(self._settings),
            evt_handlers=[
                (evt.EVT_REQUESTED, self._on_requested),
                (evt.EVT_ACCEPTED, self._on_accepted),
                (evt.EVT_CONN_CLOSE, lambda event: self._finish(event.assoc)),
            ],
            serve=lambda assoc: take_over(assoc, self._conversation, self._finish),
            settings=self._settings,
            connections=self._connections,
            shared_port=self._shared_port,
        )
        ae._servers.append(server)  # where its shutdown expects to find it
        return server

    @property
    def _connections(self) -> int:
        return self._settings.dicom_max_associations * CONNECTIONS_PER_ASSOCIATION

    # --- events, each in its association's thread ---

    def _on_requested(self, event: evt.Event) -> None:
        """Accept, or send the A-ASSOCIATE-RJ; a failure here rejects."""
        assoc = event.assoc
        request: Any = assoc.requestor.primitive
        server: Any = assoc._server
        try:
            established = sum(other.is_established for other in server.active_associations)
            origin = self._policy.admit(
                str(request.calling_ae_title).strip(),
                str(request.called_ae_title).strip(),
                assoc.requestor.address,
                established,
            )
            assoc.acceptor.supported_contexts = contexts.supported(
                request.presentation_context_definition_list, self._classes
            )
            self._receptions[assoc] = Reception(origin)
        except Exception as error:
            rejection = error.rejection if isinstance(error, Rejected) else LOCAL_LIMIT
            if not isinstance(error, Rejected):
                log.error("association.failed", exc_info=error)
            assoc.acse.send_reject(rejection.result, rejection.source, rejection.reason)
            assoc.kill()  # waits until the rejection is on the wire

    def _on_accepted(self, event: evt.Event) -> None:
        assoc = event.assoc
        reception = self._receptions.get(assoc)
        origin = reception.origin if reception else None
        for context in assoc.rejected_contexts:
            log.warning(
                "context.rejected",
                calling_ae=origin.calling_ae if origin else "",
                abstract_syntax=str(context.abstract_syntax),
                kind=UID(str(context.abstract_syntax)).keyword or "private",
                reason="abstract-syntax" if context.result == 0x03 else "transfer-syntaxes",
            )

    def _conversation(self, assoc: Association) -> Conversation:
        """How an accepted association goes on."""
        server: Any = assoc._server
        settings: Settings = server.settings
        reception = self._receptions.get(assoc)
        sock: Any = assoc.dul.socket
        return Conversation(
            sock.socket,
            max_pdu=settings.dicom_max_pdu,
            peer_max_pdu=assoc.requestor.maximum_length or 0,
            contexts={
                number: Context(str(context.abstract_syntax), str(context.transfer_syntax[0]))
                for number, context in assoc._accepted_cx.items()
            },
            store=lambda request: self._scp.store(request, reception),
            incoming=lambda header: IncomingDataSet(settings.tmp_dir, header, reserve=settings.disk_reserve),
            idle=IDLE_SECONDS,
        )

    def _finish(self, assoc: Association) -> None:
        reception = self._receptions.pop(assoc, None)
        if reception is not None:
            self._scp.finish(reception)


class FencedHandler(RequestHandler):
    """Builds each association with our socket, and with our own loop for when it is established."""

    server: FencedServer

    def _create_association(self) -> Association:
        assoc = super()._create_association()
        settings = self.server.settings
        fenced = FencedSocket(assoc, client_socket=self.request, max_pdu=settings.dicom_max_pdu)
        fenced.event_queue.get_nowait()  # making a second socket announced the connection (Evt5) a second time
        assoc.dul.socket = fenced
        assoc._run_reactor = partial(self.server.serve, assoc)  # type: ignore[method-assign]
        return assoc


class FencedServer(ThreadedAssociationServer):
    """Accepts without waiting for anybody: TLS handshakes run in each connection's own thread, with a time limit."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        *args: Any,
        settings: Settings,
        connections: int,
        shared_port: bool,
        serve: Callable[[Association], None],
        **named: Any,
    ) -> None:
        self.settings = settings
        self.serve = serve
        self._connections = connections
        self._shared_port = shared_port
        named["request_handler"] = FencedHandler
        super().__init__(*args, **named)

    def server_bind(self) -> None:
        if self._shared_port:
            assert self.socket is not None
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def get_request(self) -> tuple[socket.socket, Any]:
        assert self.socket is not None
        connection, address = self.socket.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.settimeout(HANDSHAKE_SECONDS)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        if len(self.active_associations) < self._connections:
            return True
        log.warning("connection.limit_reached", address=str(client_address[0]), limit=self._connections)
        return False

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.ssl_context is not None:
            try:
                request = self.ssl_context.wrap_socket(request, server_side=True)
            except (OSError, ValueError) as error:
                log.warning("tls.handshake_failed", address=str(client_address[0]), error=error)
                self.shutdown_request(request)
                return
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.error("connection.failed", address=str(client_address[0]), exc_info=True)


def make_server(settings: Settings, gateway: Gateway, *, shared_port: bool = False) -> DicomServer:
    """The DICOM port of one process, with everything behind it."""
    storage = gateway.storage
    policy = AssociationPolicy(
        storage.people,
        storage.audit,
        storage.spool,
        ae_title=settings.dicom_ae_title,
        limit=settings.dicom_max_associations,
    )
    scp = StorageSCP(gateway.ingest.store, storage.audit)
    return DicomServer(settings, policy, scp, shared_port=shared_port)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS by the BCP 195 profile (PS3.15 B.12): 1.2 and newer, forward secrecy, client certificates where a CA is set.

    Raises
    ------
    ConfigurationError
        A file is missing or does not fit the others.
    """
    if settings.dicom_tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM")
    try:
        context.load_cert_chain(settings.dicom_tls_cert, settings.dicom_tls_key)
        if settings.dicom_tls_ca is not None:
            context.load_verify_locations(settings.dicom_tls_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the files of dicom_tls_cert, dicom_tls_key and dicom_tls_ca cannot be used together: {error}"
        ) from error
    return context


def check_port_is_free(host: str, port: int) -> None:
    """Raise ConfigurationError when somebody listens there: with SO_REUSEPORT two strangers would share the callers."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port} for DICOM: {error.strerror or error}"
            ) from error


def _quiet_pynetdicom() -> None:
    """No identifiers in logs, no data sets decoded for logging, and malformed UIDs left for us to answer (0x0117)."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.VALIDATORS["UI"] = lambda value: (
        isinstance(value, str) and bool(value),
        "a UID must not be empty",
    )
