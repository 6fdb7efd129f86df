"""The composition root: settings and a store become rooms, and rooms two listeners.

    public listener → proxy → gate → ledger        admin listener → admin → ledger, metrics

Nothing here decides anything; it says who is given what, and in which order things start and stop.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.admin.api import AdminDeps, create_admin_app
from gateway.admin.command import Desk
from gateway.admin.decisions import DecisionDeps
from gateway.admin.token import kept_token
from gateway.admission.head import Head
from gateway.admission.pages import Found
from gateway.clock import ALONE, StoreClock, Turns
from gateway.dialects.protocol import Answer
from gateway.errors import DRAINING, UNAUTHENTICATED, Refusal
from gateway.events.work import event_sender
from gateway.ledger.blocks import BlockLedger
from gateway.ledger.frame import Terms
from gateway.ledger.heartbeat import Heartbeat
from gateway.ledger.reaper import Reaper
from gateway.ledger.store import Store
from gateway.ledger.watch import StoreWatch
from gateway.proxy import tls, wire
from gateway.proxy.call import Books
from gateway.proxy.connection import PublicServer
from gateway.proxy.doubts import DoubtDesk
from gateway.proxy.fast import FastPath
from gateway.proxy.gate import Gate
from gateway.proxy.handler import Handler, HandlerSettings
from gateway.proxy.idempotency import Names
from gateway.proxy.jobs.work import JobWork
from gateway.proxy.journal import Journal
from gateway.proxy.lane import FastServer, is_understood
from gateway.proxy.learning import Learning
from gateway.proxy.limits import connection_limits, head_limits
from gateway.proxy.listener import Listener, Shared, Spoken, listen
from gateway.proxy.live import Live, build
from gateway.proxy.means import Means
from gateway.proxy.protocols import protocols
from gateway.proxy.recall import Recall
from gateway.proxy.senders import Senders
from gateway.proxy.settler import Settler
from gateway.proxy.uploads.work import UploadWork
from gateway.proxy.vessels import Vessels
from gateway.proxy.watchdog import Watchdog
from gateway.records.accounts import Accounts
from gateway.records.api_keys import ApiKeys
from gateway.records.assets import Owners
from gateway.records.idempotency import Idempotency
from gateway.records.identities import Identities, Identity
from gateway.records.invalidation import Changed
from gateway.settings import Configuration
from gateway.telemetry.access import AccessLog
from gateway.telemetry.joining import Exposition
from gateway.telemetry.loop_lag import LoopLag
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.request_ids import RequestIds
from gateway.telemetry.watched import WatchedTransport
from gateway.usage import endpoints
from gateway.usage.billing import BillingPeriods
from gateway.usage.described import public_document
from gateway.usage.request import UsageRequest, sources

log = logging.getLogger(__name__)

PENDING_GRACE_S = 5.0
"""How long a gateway that stops waits for settlements the store has not taken."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a gateway shares with others that serve the same addresses: `public` and `admin` say
    how, `turns` its part in the common duties, `scrape` answers what all of them have counted."""

    public: Shared | None = None
    admin: Shared | None = None
    turns: Turns = ALONE
    scrape: Callable[[], Awaitable[Exposition]] | None = None


class Gateway:
    """One running gateway: made, started, perhaps reloaded, stopped."""

    def __init__(
        self,
        configuration: Configuration,
        store: Store,
        access: AccessLog,
        place: Place | None = None,
    ) -> None:
        settings = configuration.settings
        self._settings = settings
        self._place = place or Place()
        self._access = access
        self._store = store
        self.metrics = Metrics(CollectorRegistry(), version=version("quota-gateway"))
        self._clock = StoreClock()
        self.ledger = BlockLedger(
            WatchedTransport(store.admission, self.metrics),
            WatchedTransport(store.settlement, self.metrics),
            self._clock,
        )
        self._billing = BillingPeriods(
            lambda: self.handler.live.catalog.billing, Accounts(store.client)
        )
        self._sources = sources(self.ledger, store.client, self._clock.now_ms, self._billing)
        self._watch = StoreWatch(store.client, self._clock)
        self._reaper = Reaper(
            self.ledger,
            store.client,
            on_expired=self.metrics.expired,
            look_after_ms=_ms(settings.lease_s),
            ahead=store.admission,
        )
        self._reaper.attend()
        self._heartbeat = Heartbeat(
            self.ledger,
            lease_ms=_ms(settings.lease_s),
            interval_s=settings.heartbeat_s,
            note=self._reaper.note,
        )
        self.identities = Identities(store.client, self._clock)
        owners = Owners(store.client)
        self.recall = Recall(self.identities, ApiKeys(store.client), lambda: self.handler.live)
        self._settler = Settler(
            self.ledger,
            owners,
            self.metrics,
            Journal(settings.state_dir / "journal"),
            self.recall.of_settlement,
        )
        self._watchdog = Watchdog()
        self._lag = LoopLag(self.metrics.loop_lag)
        self._request_ids = RequestIds()
        self._senders = Senders(settings.trusted_proxies)
        self._gate = gate = Gate(
            self.ledger,
            self._settler,
            self.identities,
            owners,
            self.metrics,
            lambda: self._watch.error,
        )
        self._doubts = DoubtDesk(
            self.ledger,
            self._settler,
            store.client,
            self.recall,
            self.metrics,
            lambda: self.handler.live,
        )
        self.learning = Learning(store.client, self.metrics)
        self._books = books = Books(
            self.ledger,
            self._settler,
            self._heartbeat,
            self._doubts,
            self._clock,
            self.metrics,
            self.learning,
        )
        self._events = event_sender(
            store.client, lambda: self.handler.live.catalog.events, self.metrics
        )
        self.ledger.on_event = self._events.note
        self.jobs = JobWork(books, store.client, self.recall, lambda: self.handler.live)
        self.uploads = UploadWork(books, store.client, self.recall, lambda: self.handler.live)
        self._names = Names(Idempotency(store.client), books, self.recall)
        self.handler = Handler(
            HandlerSettings(head_limits(settings), _ms(settings.lease_s)),
            self._build(configuration, None),
            gate=gate,
            names=self._names,
            protocols=protocols(gate, books, store.client, self.recall, self.jobs, self.uploads),
            clock=self._clock,
            usage=self._usage,
            senders=self._senders,
            watchdog=self._watchdog,
            metrics=self.metrics,
            access=access,
        )
        self._tls: ssl.SSLContext | None = None
        self._public: Listener | None = None
        self._server: PublicServer | None = None
        self.fast: FastPath | None = None
        self._admin: web.AppRunner | None = None
        self._admin_listener: Listener | None = None
        self.public_address = ""
        self.admin_address = ""

    async def start(self) -> None:
        """Listen. Raises OSError (address in use), ssl.SSLError, ConfigError, StoreError."""
        settings = self._settings
        self.metrics.in_flight.read_from(lambda: len(self._watchdog))
        self.metrics.pending_settlements.read_from(lambda: self._settler.pending)
        self.metrics.open_leases.read_from(lambda: len(self._heartbeat))
        self.identities.on_cut = self._cut
        self.ledger.settler, self.ledger.given = self._settler, self.metrics.block_shares
        await self._watch.start()
        await self.identities.start()
        await self._billing.start()
        await self._settler.start()
        self._heartbeat.start()
        turns = self._place.turns
        self._reaper.start(turns)
        self._doubts.start(turns)
        self.jobs.start(turns)
        await self._events.start(turns)
        self.uploads.start(turns)
        self._watchdog.start()
        self._lag.start()
        if settings.tls_cert is not None and settings.tls_key is not None:
            self._tls = tls.server_context(settings.tls_cert, settings.tls_key)
        self._server = self._public_server()
        spoken = Spoken(self._server, self._tls, settings.header_timeout_s)
        self._public = await listen(spoken, settings.listen, self._place.public)
        self.public_address = self._public.address
        self.admin_address = await self._start_admin()
        self.metrics.workers.set(1)

    async def reload(self, configuration: Configuration) -> None:
        """Take over a new catalog and certificate; requests in flight keep the old catalog.

        What a running process cannot change (its addresses, its store) stays as it was.
        """
        before = self.handler.live
        live = self._build(configuration, before)
        if self._tls is not None:
            cert, key = configuration.settings.tls_cert, configuration.settings.tls_key
            if cert is not None and key is not None:
                tls.reload_certificate(self._tls, cert, key)
        self.handler.live = live
        for pool in before.retired_by(live):
            await pool.close()

    async def stop(self) -> int:
        """Drain: refuse new work, let running requests end, stop the rest, settle everything.

        Returns how many settlements were left in the journal because the store was away.
        """
        drain_s = self._settings.drain_timeout_s
        self.handler.draining = True
        if self._public is not None:
            await self._public.close()
        if self._server is not None:
            self._server.pre_shutdown()
        if not await self._watchdog.idle(drain_s):
            log.warning("drain limit reached: stopping %d requests", len(self._watchdog))
            self._watchdog.stop_all(DRAINING)
            await self._watchdog.idle(PENDING_GRACE_S)
        if self._server is not None:
            await self._server.shutdown(1.0)
            self._server.vessels.close()
        await self.ledger.stop()
        left = await self._settler.close(PENDING_GRACE_S)
        self._watchdog.close()
        self._lag.stop()
        await self._heartbeat.stop()
        await self._reaper.stop()
        await self._doubts.stop()
        await self._names.stop()
        await self.learning.stop()
        if self.fast is not None:
            await self.fast.stop()
        await self.jobs.stop()
        await self._events.stop()
        await self.uploads.stop()
        await self.identities.stop()
        await self._billing.stop()
        await self._watch.stop()
        if self._admin_listener is not None:
            await self._admin_listener.close()
        if self._admin is not None:
            await self._admin.cleanup()
        for pool in self.handler.live.pools.values():
            await pool.close()
        return left

    # -- what the rooms are given -----------------------------------------------------------------

    def _build(self, configuration: Configuration, before: Live | None) -> Live:
        catalog = configuration.catalog
        self.metrics.know("route", (route.name for route in catalog.routes))
        self.metrics.know("route", ("usage",))
        self.metrics.know("meter", catalog.meters)
        self.metrics.know("plan", catalog.plans)
        self.metrics.know("upstream", catalog.upstreams)
        self.metrics.know("rule", catalog.jobs)
        self.ledger.leaves_events = catalog.events is not None
        return build(catalog, before, public_document)

    def _refused(self, refusal: Refusal) -> bytes:
        """The answer to what never became a request."""
        answer = self.handler.live.dialects.default.refusal(refusal, "")
        return wire.own_answer(answer.status, answer.headers, answer.body, keep_alive=False)

    async def _usage(
        self, found: Found, head: Head, identity: Identity, terms: Terms, request_id: str
    ) -> Answer:
        page = found.page
        assert identity.key is not None, "usage pages ask for an API key"
        request = UsageRequest(
            page=page.page,
            dialect=self.handler.live.dialects.by_name[page.dialect],
            method=head.method,
            query=head.query,
            account=identity.account,
            key=identity.key,
            terms=terms,
            request_id=request_id,
            now_ms=self._clock.now_ms(),
            params=found.params,
            pending_settlements=self._settler.pending_of(terms.account),
        )
        return await endpoints.answer(page.dialect, request, self._sources)

    def _cut(self, changed: Changed) -> None:
        """A key was revoked, or an account suspended, with the wish to stop what runs."""
        self._watchdog.stop_of(changed.account, changed.key_id, UNAUTHENTICATED)

    async def _ready(self) -> Mapping[str, str | None]:
        wrong = self._watch.health
        return {
            "store": None if wrong is None else wrong.title,
            "draining": DRAINING.title if self.handler.draining else None,
        }

    def _desk(self) -> Desk:
        client, catalog = self._store.client, self.handler.live.catalog
        return Desk(Accounts(client), ApiKeys(client), self.ledger, catalog, self._clock)

    def _public_server(self) -> PublicServer:
        settings = self._settings
        limits, vessels = (
            connection_limits(settings),
            Vessels(splice=settings.splice, workers=settings.workers),
        )
        known = is_understood()
        if settings.fast_path and not known:
            log.warning("this version of aiohttp is not known: there is no fast path")
        if not (settings.fast_path and known):
            return PublicServer(self.handler, limits, self._refused, vessels)
        server = FastServer(self.handler, limits, self._refused, vessels)
        means = Means(
            self.handler,
            self._gate,
            self._books,
            self._senders,
            self._watchdog,
            self._access,
            head_limits(settings),
            _ms(settings.lease_s),
        )
        server.lane = self.fast = FastPath(means)
        return server

    async def _start_admin(self) -> str:
        settings = self._settings
        token = settings.admin_token
        deps = AdminDeps(
            decisions=DecisionDeps(
                ledger=self.ledger,
                keys=ApiKeys(self._store.client),
                identities=self.identities,
                catalog=lambda: self.handler.live.catalog,
                metrics=self.metrics,
                clock=self._clock,
                note=self._reaper.note_lasting,
                closed=lambda: DRAINING if self.handler.draining else self._watch.error,
            ),
            desk=self._desk,
            metrics=self.metrics,
            request_ids=self._request_ids,
            token=kept_token(settings.state_dir) if token is None else token.get_secret_value(),
            ready=self._ready,
            scrape=self._place.scrape,
        )
        self._admin = web.AppRunner(
            create_admin_app(deps), access_log=None, auto_decompress=False, handle_signals=False
        )
        await self._admin.setup()
        assert self._admin.server is not None
        context = self._tls if settings.admin_tls else None
        spoken = Spoken(self._admin.server, context, settings.header_timeout_s)
        self._admin_listener = await listen(spoken, settings.admin_listen, self._place.admin)
        return self._admin_listener.address


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
