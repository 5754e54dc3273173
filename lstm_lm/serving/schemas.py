"""Request and response bodies."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from lstm_lm.errors import ConfigError
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.prediction_request import PredictionRequest
from lstm_lm.inference.user_words import MAX_USER_WORDS
from lstm_lm.inference.word_lists import parse_words

MAX_LIST_WORDS = 1000
MAX_RECENT = 1000
ALIASES = {"generate": "max_words", "topk": "top_k", "repetition_penalty": "repeat_penalty"}
"""Request fields that are an alias, and the field's name in Python."""


def _reject_nul(text: str) -> str:
    if "\x00" in text:
        raise PydanticCustomError("nul", "must not contain the NUL character")
    return text


def _split_words(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    # check the length before parsing; the word @,@ contains a comma
    if value.count(",") > 2 * MAX_LIST_WORDS:
        raise PydanticCustomError("too_long", "list should have at most {most} items", {"most": MAX_LIST_WORDS})
    return parse_words(value)


def _one_string(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _default_cache(value: Any) -> Any:
    return ({} if value else None) if isinstance(value, bool) else value


TextField = Annotated[str, AfterValidator(_reject_nul), Field(json_schema_extra={"pattern": "^[^\\x00]*$"})]
Word = Annotated[TextField, Field(max_length=100)]
StopString = Annotated[TextField, Field(min_length=1, max_length=100)]
_StopList = Annotated[list[StopString], Field(max_length=16)]
StopList = Annotated[_StopList, BeforeValidator(_one_string, json_schema_input_type=_StopList | StopString)]
UserWords = Annotated[
    dict[Annotated[Word, Field(min_length=1)], Annotated[float, Field(gt=0, le=1e9)]],
    Field(max_length=MAX_USER_WORDS),
]
_Words = Annotated[list[Word], Field(max_length=MAX_LIST_WORDS, fail_fast=True)]
WordList = Annotated[_Words, BeforeValidator(_split_words, json_schema_input_type=_Words | str)]
TopK = Annotated[int | None, Field(ge=0, le=1_000_000)]
RepetitionPenalty = Annotated[float | None, Field(ge=1, le=100)]


def _allow_null(schema: dict[str, Any]) -> None:
    """Show in the schema that a field that is not required may be null."""
    for name, field in schema["properties"].items():
        alternatives = field.get("anyOf", [])
        if name in schema.get("required", ()) or {"type": "null"} in alternatives:
            continue
        own = {key: field.pop(key) for key in list(field) if key not in ("title", "description", "default", "anyOf")}
        field["anyOf"] = [*alternatives, *([own] if own else []), {"type": "null"}]


def with_example(example: Mapping[str, Any]) -> ConfigDict:
    """The model config of a request body whose schema shows ``example``."""

    def extra(schema: dict[str, Any]) -> None:
        _allow_null(schema)
        schema["examples"] = [example]

    return ConfigDict(json_schema_extra=extra)


class RequestBody(BaseModel):
    """A request body without unknown fields or type conversions. A field that is null is not set."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, json_schema_extra=_allow_null)

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None or name not in cls.model_fields}


class CacheOptions(RequestBody):
    """Neural cache (Grave et al. 2017): recent words of the text become more probable.

    What is missing or null is the model's own setting: ``cache`` of ``/info``.
    """

    weight: float | None = Field(None, ge=0, le=1, description="weight of the cache in the mixture")
    theta: float | None = Field(
        None, ge=0, le=100, description="how strongly similar contexts are preferred; 0 weights all equally"
    )
    window: int | None = Field(None, ge=0, le=1_000_000, description="number of recent words in the cache; 0 is all")


class PredictionOptions(RequestBody):
    """Options of a prediction."""

    prefix: Word = Field("", description="typed beginning of the next word")
    words_only: bool = Field(
        False, description="exclude punctuation and symbols and, after a space, endings such as 's"
    )
    allow: WordList | None = Field(
        None,
        description="suggest only these words, compared as they are shown, in any case: a list or a "
        "comma-separated string",
    )
    deny: WordList = Field([], description="never suggest these words, compared in the same way")
    cache: Annotated[
        CacheOptions | None, BeforeValidator(_default_cache, json_schema_input_type=CacheOptions | bool | None)
    ] = Field(None, description="neural cache of the words of this text; true uses the model's settings")

    split: bool = Field(False, description="take the half-typed word at the end of the text as the prefix")
    typed_word: Literal["last", "ranked", "never"] = Field(
        "last", description="where the suggestion that equals the prefix goes"
    )

    user_words: UserWords = Field(
        {}, description="the user's own words and how often they were used; they are not kept"
    )
    recent: Annotated[list[TextField], Field(max_length=MAX_RECENT)] = Field(
        [], description="earlier texts of the same person, oldest first, for the neural cache only; they are not kept"
    )

    def to_request(self, engine: Engine, text: str, k: int, max_chars: int) -> PredictionRequest:
        """The request for ``k`` suggestions after ``text`` with these options.

        Args:
            engine: Gives the settings that the options leave open.
            text: The text that is read.
            k: Maximum number of suggestions.
            max_chars: Of ``recent``, the newest texts with this many characters in all are read.
        """
        # null and false differ: earlier texts switch the cache on unless it is false
        off = self.cache is None and "cache" in self.model_fields_set
        return PredictionRequest(
            text,
            k,
            self.prefix,
            self.words_only,
            self.allow,
            self.deny,
            engine.resolve_cache(**self.cache.model_dump()) if self.cache else None,
            self.split,
            self.typed_word,
            self.user_words,
            () if off else _newest(self.recent, max_chars),
        )


class SamplingOptions(RequestBody):
    """Options of a generation; one that is missing or null comes from the preset."""

    strategy: Literal["greedy", "sample"] | None = Field(
        None, description="greedy takes the most probable word, sample draws one at random"
    )
    temperature: float | None = Field(
        None, ge=0, le=100, description="below 1 is safer, above 1 is more varied; 0 is greedy"
    )
    top_k: TopK = Field(None, description="sample from the k most probable words; 0 is off")
    topk: TopK = Field(None, description="alias of top_k")
    top_p: float | None = Field(
        None, gt=0, le=1, description="sample from the most probable words whose probabilities sum to top_p; 1 is off"
    )
    seed: int | None = Field(None, ge=0, lt=2**63, description="makes sampling reproducible")
    ban_unk: bool | None = Field(None, description="never generate <unk>")
    ban_tokens: WordList | None = Field(
        None,
        description="never generate these words, in any case; the model must know them: a list or a "
        "comma-separated string",
    )
    repetition_penalty: RepetitionPenalty = Field(
        None, description="above 1 makes the last repeat_window words less likely; 1 is off"
    )
    repeat_penalty: RepetitionPenalty = Field(None, description="alias of repetition_penalty")
    repeat_window: int | None = Field(
        None, ge=0, le=1_000_000, description="number of recent words that the penalty applies to"
    )
    stop_eos: bool | None = Field(None, description="stop at the first end of a line")

    def given(self) -> dict[str, Any]:
        """The fields of the request that are not null, by their names in Python.

        Raises:
            ConfigError: If a field and its alias have different values.
        """
        given = {name: value for name, value in self if name in self.model_fields_set and value is not None}
        problems = []
        for alias, name in ALIASES.items():
            if alias in given:
                value = given.pop(alias)
                if given.setdefault(name, value) != value:
                    problems.append(f"{name}, {alias}: aliases with different values; send only one of them")
        if problems:
            raise ConfigError(problems)
        return given


class SuggestedWord(BaseModel):
    """A word, its probability as the next one, and how it joins the text."""

    word: str = Field(description="the word as it is shown")
    probability: float
    text: str = Field(description="what to type in place of the last `replaces` characters")
    replaces: int = Field(description="number of characters (Unicode code points) at the end of text and prefix")
    space_before: bool = Field(description="whether a space then stands before the word")


class Suggestions(BaseModel):
    """Response of ``/predict``: the most probable next words, best first."""

    suggestions: list[SuggestedWord]
    characters_read: int = Field(description="characters of the text that were read, from its end")
    unknown_words: list[str] = Field(description="words of the text that are not in the vocabulary")


class GeneratedText(BaseModel):
    """Response of ``/generate``."""

    text: str = Field(description="the text of the request, followed by its continuation")
    words: list[str] = Field(description="the words of the continuation, in the vocabulary's spelling")
    unknown_words: list[str] = Field(description="words of the text that are not in the vocabulary")
    finish_reason: Literal["stop", "length", "end_of_line"] = Field(
        description="why the text ends: a stop string, the number of words, or `stop_eos`"
    )
    characters_read: int = Field(description="characters of the text that were read, from its end")
    seed: int | None = Field(description="reproduces this response; null for greedy decoding without a seed")


class TextDelta(BaseModel):
    """One event of a streamed generation: text to append."""

    piece: str


class Status(BaseModel):
    """Response of ``/health`` and ``/ready``."""

    status: Literal["ok"] = "ok"


class ErrorResponse(BaseModel):
    """Response to an invalid or rejected request."""

    detail: str
    problems: list[str] | None = Field(None, description="one entry per problem, as `field: what is wrong`")


def read_end(text: str, limit: int) -> str:
    """The end of ``text``, at most ``limit`` characters, which starts at a word if the text has spaces there."""
    if len(text) <= limit:
        return text
    end = text[len(text) - limit :]
    start = next((index for index, char in enumerate(end) if char.isspace()), 0)
    return end if text[len(text) - limit - 1].isspace() else end[start:]


def _newest(texts: Sequence[str], max_chars: int) -> list[str]:
    lengths = accumulate(map(len, reversed(texts)))
    count = sum(length <= max_chars for length in lengths)
    return list(texts[len(texts) - count :])


def preset_validator(presets: Mapping[str, SamplingConfig]) -> AfterValidator:
    """A validator that accepts only names of ``presets``."""

    def check(name: str) -> str:
        if name not in presets:
            raise PydanticCustomError("preset", "unknown preset; use one of {names}", {"names": ", ".join(presets)})
        return name

    return AfterValidator(check)
