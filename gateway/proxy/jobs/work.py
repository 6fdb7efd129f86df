"""Job work: everything about jobs that goes on beside the requests, put together."""

from collections.abc import Callable, Mapping

from gateway.catalog.routes import Protocol
from gateway.clock import ALONE, Turns
from gateway.proxy.call import Books, Server
from gateway.proxy.gate import Gate
from gateway.proxy.jobs.books import JobBooks
from gateway.proxy.jobs.callbacks import Callbacks
from gateway.proxy.jobs.jobs import JobCancels, JobOpenings, JobStatuses
from gateway.proxy.jobs.questions import JobQuestions
from gateway.proxy.jobs.watcher import Watcher
from gateway.proxy.jobs.webhooks import WebhookCaller
from gateway.proxy.live import Live
from gateway.proxy.outside import Outside
from gateway.proxy.recall import Recall
from gateway.records.jobs import Jobs
from gateway.records.rows import RedisClient
from gateway.records.webhooks import Webhooks


class JobWork:
    def __init__(
        self, books: Books, client: RedisClient, recall: Recall, live: Callable[[], Live]
    ) -> None:
        outside = Outside()
        questions = JobQuestions(live, outside)
        self._books = books
        self._job_books = JobBooks(books, Jobs(client), questions, recall, live)
        self._webhooks = Webhooks(client)
        self.watcher = Watcher(self._job_books, books.metrics)
        self.caller = WebhookCaller(self._webhooks, outside, live, books.metrics)

    def servers(self, gate: Gate) -> Mapping[Protocol, Server]:
        return {
            Protocol.JOB: JobOpenings(gate, self._books, self._job_books),
            Protocol.JOB_STATUS: JobStatuses(gate, self._books, self._job_books),
            Protocol.JOB_CANCEL: JobCancels(gate, self._books, self._job_books),
            Protocol.CALLBACK: Callbacks(self._books, self._job_books, self._webhooks),
        }

    def start(self, turns: Turns = ALONE) -> None:
        self.watcher.start(turns)
        self.caller.start(turns)

    async def stop(self) -> None:
        await self._job_books.stop()
        await self.watcher.stop()
        await self.caller.stop()
