"""Predictions for many clients at once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lstm_lm.inference.engine import Engine
from lstm_lm.inference.prediction import PendingPrediction, Prediction, PredictionRequest, decode_batch
from lstm_lm.serving.batching import DynamicBatcher
from lstm_lm.serving.pool import InferenceThreadPool

# a batch does at most this much for one question, because all others in it wait
_QUICK_WORDS = 4
_QUICK_CHARS = 1000
_QUICK_RANKING = 100
# a thread of the pool reads this many words before the next text has its turn
_PREFILL_CHUNK = 64

Outcome = Prediction | Exception | None


@dataclass(frozen=True, eq=False)
class _PredictionItem:
    question: PendingPrediction
    outcome: asyncio.Future[Prediction | None]

    def should_continue(self, _result: Outcome) -> bool:
        return False

    def deliver(self, result: Outcome, _goes_on: bool) -> None:
        if self.outcome.cancelled():
            return
        if isinstance(result, Exception):
            self.outcome.set_exception(result)
        else:
            self.outcome.set_result(result)


class PredictionBatcher:
    """Answers questions in rounds, each from one step of the network.

    Long work runs in the pool: reading a text with more than a few new words, some words at a time, and ranking the
    words of a long neural cache.

    Args:
        engine: Gives the answers.
        pool: Its threads read what is long.
        max_batch: Most questions in a round.
        on_batch: Told the number of questions of each round.
    """

    def __init__(
        self, engine: Engine, pool: InferenceThreadPool, max_batch: int, on_batch: Callable[[int], None]
    ) -> None:
        self._engine = engine
        self._pool = pool
        self._rounds = DynamicBatcher[_PredictionItem](self._answer, max_batch, on_batch)

    async def predict(self, wanted: PredictionRequest) -> Prediction:
        """The answer of ``Engine.predict``.

        Raises:
            ConfigError: As there.
        """
        question = self._engine.prepare(wanted)
        if len(wanted.text) > _QUICK_CHARS:
            await self._catch_up(question)
        while (answer := await self._in_a_round(question)) is None:
            if question.is_decoded:
                return await self._pool.run(question.answer)
            await self._catch_up(question)
        return answer

    async def _catch_up(self, question: PendingPrediction) -> None:
        # the pool is first come, first served: a short text waits for one slice of each long one
        while await self._pool.run(question.prefill, self._engine.backend, _PREFILL_CHUNK) > 0:
            pass

    async def _in_a_round(self, question: PendingPrediction) -> Prediction | None:
        """The answer, or ``None`` if the text must be read first or the answer takes long."""
        outcome = asyncio.get_running_loop().create_future()
        self._rounds.add(_PredictionItem(question, outcome))
        result: Prediction | None = await outcome
        return result

    def _answer(self, batch: Sequence[_PredictionItem]) -> list[Outcome]:
        backend = self._engine.backend
        outcomes: dict[_PredictionItem, Outcome] = dict.fromkeys(batch)
        ready = []
        for asked in batch:
            try:
                if asked.question.num_prefill_tokens() <= _QUICK_WORDS:
                    asked.question.prefill(backend)
                    ready.append(asked)
            except Exception as error:  # a text that cannot be read is nobody else's trouble
                outcomes[asked] = error
        decode_batch(backend, [asked.question for asked in ready])
        for asked in ready:
            if asked.question.ranking_size() <= _QUICK_RANKING:
                outcomes[asked] = asked.question.answer()
        return [outcomes[asked] for asked in batch]
