"""What a request may hold and what an answer holds."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from lstm_lm.inference.config import CacheConfig, SamplingConfig
from lstm_lm.inference.prediction import PredictionRequest
from lstm_lm.inference.word_lists import parse_words

MOST_WORDS = 1000  # in a list


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise PydanticCustomError("nul", "must not contain the NUL character")
    return text


def _as_list(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    # counted before it is parsed; the word @,@ has a comma of its own
    if value.count(",") > 2 * MOST_WORDS:
        raise PydanticCustomError("too_long", "list should have at most {most} items", {"most": MOST_WORDS})
    return parse_words(value)


def _as_options(value: Any) -> Any:
    return ({} if value else None) if isinstance(value, bool) else value


TextField = Annotated[str, AfterValidator(_without_nul), Field(json_schema_extra={"pattern": "^[^\\x00]*$"})]
Word = Annotated[TextField, Field(max_length=100)]
StopString = Annotated[TextField, Field(min_length=1, max_length=100)]
StopList = Annotated[list[StopString], Field(max_length=16)]
_Words = Annotated[list[Word], Field(max_length=MOST_WORDS, fail_fast=True)]
WordList = Annotated[_Words, BeforeValidator(_as_list, json_schema_input_type=_Words | str)]


class RequestBody(BaseModel):
    """A request: unknown fields are refused, and a value has its field's type or is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class CacheOptions(RequestBody):
    """How the words of the text at hand count again: the neural cache (Grave et al. 2017)."""

    weight: float = Field(CacheConfig.weight, ge=0, le=1, description="share of the cache in the mixture")
    theta: float = Field(
        CacheConfig.theta, ge=0, le=100, description="how much more a place like the present one counts"
    )
    window: int = Field(CacheConfig.window, ge=0, le=1_000_000, description="how many words back it looks; 0 is all")


class PredictionOptions(RequestBody):
    """The options of a prediction."""

    prefix: Word = Field("", description="the beginning of the word, as far as it is typed")
    words_only: bool = Field(False, description="leave out punctuation and symbols")
    allow: WordList | None = Field(
        None, description="suggest nothing else, whatever the case: a list, or one string with commas between"
    )
    deny: WordList = Field([], description="never suggest these, whatever the case")
    cache: Annotated[
        CacheOptions | None, BeforeValidator(_as_options, json_schema_input_type=CacheOptions | bool | None)
    ] = Field(None, description="learn from the words of this very text; true takes the usual strength")

    def wanted(self, text: str, k: int) -> PredictionRequest:
        """What the engine is asked: ``k`` suggestions after ``text``, with these options."""
        cache = CacheConfig(**self.cache.model_dump()) if self.cache else None
        return PredictionRequest(text, k, self.prefix, self.words_only, self.allow, self.deny, cache)


class SamplingOptions(RequestBody):
    """The options of a generation; one that is missing or null comes from the preset."""

    strategy: Literal["greedy", "sample"] | None = Field(None, description="the most probable word, or a drawn one")
    temperature: float | None = Field(None, gt=0, le=100, description="below 1 is safer, above 1 is livelier")
    topk: int | None = Field(None, ge=0, le=1_000_000, description="draw from the topk most probable words; 0 is off")
    top_p: float | None = Field(None, gt=0, le=1, description="draw from the words that make up top_p; 1 is off")
    seed: int | None = Field(None, ge=0, lt=2**63, description="makes a draw repeatable")
    ban_unk: bool | None = Field(None, description="never give <unk>")
    ban_tokens: WordList | None = Field(
        None, description="words that are never given: a list, or one string with commas between"
    )
    repeat_penalty: float | None = Field(None, ge=1, le=100, description="above 1 avoids recent words; 1 is off")
    repeat_window: int | None = Field(None, ge=0, le=1_000_000, description="how many words back the penalty looks")
    stop_eos: bool | None = Field(None, description="end at the first end of a line")

    def changes(self) -> dict[str, Any]:
        """The options that the request gave, as fields of ``SamplingConfig``."""
        given = self.model_dump(include=set(SamplingOptions.model_fields), exclude_none=True)
        if "topk" in given:
            given["top_k"] = given.pop("topk")
        return given


class SuggestedWord(BaseModel):
    """A word and its probability as the next one."""

    word: str
    probability: float


class Suggestions(BaseModel):
    """The answer of ``/predict``: the most probable next words, best first."""

    suggestions: list[SuggestedWord]
    unknown_words: list[str] = Field(description="words of the text that the model never saw")


class GeneratedText(BaseModel):
    """The answer of ``/generate``."""

    text: str = Field(description="the text as it was sent, and its continuation")
    words: list[str] = Field(description="the words of the continuation, as the vocabulary spells them")
    unknown_words: list[str] = Field(description="words of the text that the model never saw")
    seed: int | None = Field(description="gives the same words again; null where none was given and none is drawn")


class TextDelta(BaseModel):
    """A piece of a continuation: what to append to the text."""

    piece: str


class Status(BaseModel):
    """The answer of ``/health`` and ``/ready``."""

    status: Literal["ok"] = "ok"


class ErrorResponse(BaseModel):
    """What is wrong with a request."""

    detail: str
    problems: list[str] | None = Field(None, description="each problem by itself, as `field: what is wrong`")


def known_preset(presets: Mapping[str, SamplingConfig]) -> AfterValidator:
    """A validator that takes the names of ``presets`` alone."""

    def check(name: str) -> str:
        if name not in presets:
            raise PydanticCustomError("preset", "unknown preset; use one of {names}", {"names": ", ".join(presets)})
        return name

    return AfterValidator(check)
