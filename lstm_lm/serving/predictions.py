"""Predictions of many clients in shared batches."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lstm_lm.inference.engine import Engine
from lstm_lm.inference.prediction import PendingPrediction, decode_batch
from lstm_lm.inference.prediction_request import Prediction, PredictionRequest
from lstm_lm.serving.batching import DynamicBatcher
from lstm_lm.serving.pool import InferenceThreadPool

# a batch does at most this much for one request: more would delay its other requests
_MAX_INLINE_TOKENS = 4
_MAX_INLINE_CHARS = 1000
_MAX_INLINE_RANKING = 100
# tokens that a thread of the pool processes before the next text has its turn
_PREFILL_CHUNK = 64

BatchResult = Prediction | Exception | None
"""``None`` if the prefill or the ranking takes too long for a batch."""


@dataclass(frozen=True, eq=False)
class _PredictionItem:
    pending: PendingPrediction
    future: asyncio.Future[Prediction | None]

    def should_continue(self, _result: BatchResult) -> bool:
        return False

    def deliver(self, result: BatchResult, _should_continue: bool) -> None:
        if self.future.cancelled():
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class PredictionBatcher:
    """Predicts in batches; each costs one model step.

    The thread pool runs what would delay the batch: the prefill of a text with more than a few uncached tokens, one
    chunk at a time, and the ranking with a long neural cache or long word lists.

    Args:
        engine: Predicts.
        pool: Runs long prefills and rankings.
        max_batch: Most predictions in one batch.
        on_batch: Called with each batch's size.
    """

    def __init__(
        self, engine: Engine, pool: InferenceThreadPool, max_batch: int, on_batch: Callable[[int], None]
    ) -> None:
        self._engine = engine
        self._pool = pool
        self._batcher = DynamicBatcher[_PredictionItem](self._run_batch, max_batch, on_batch)

    async def predict(self, request: PredictionRequest) -> Prediction:
        """The result of ``Engine.predict``.

        Raises:
            ConfigError: If ``request`` has a problem.
        """
        pending = self._engine.prepare(request)
        if len(request.text) + sum(map(len, request.recent)) > _MAX_INLINE_CHARS:
            await self._prefill(pending)
        while (prediction := await self._submit(pending)) is None:
            if pending.is_ready:
                return await self._pool.run(pending.result)
            await self._prefill(pending)
        return prediction

    async def _prefill(self, pending: PendingPrediction) -> None:
        # the pool is first in, first out: a short text waits for one chunk of each long one
        while await self._pool.run(pending.prefill, self._engine.backend, _PREFILL_CHUNK) > 0:
            pass

    async def _submit(self, pending: PendingPrediction) -> Prediction | None:
        """The prediction, or ``None`` if the pool has to continue with ``pending``."""
        future = asyncio.get_running_loop().create_future()
        self._batcher.submit(_PredictionItem(pending, future))
        prediction: Prediction | None = await future
        return prediction

    def _run_batch(self, batch: Sequence[_PredictionItem]) -> list[BatchResult]:
        backend = self._engine.backend
        results: dict[_PredictionItem, BatchResult] = dict.fromkeys(batch)
        ready = []
        for item in batch:
            try:
                if item.pending.num_prefill_tokens() <= _MAX_INLINE_TOKENS:
                    item.pending.prefill(backend)
                    ready.append(item)
            except Exception as error:  # one text that fails must not fail its batch
                results[item] = error
        decode_batch(backend, [item.pending for item in ready])
        for item in ready:
            if item.pending.ranking_size() <= _MAX_INLINE_RANKING:
                results[item] = item.pending.result()
        return [results[item] for item in batch]
