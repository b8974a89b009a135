"""Languages as small numbers, so that arrays can hold what a post's `langs` and a reader's `accept-language` say.

The numbers are stored in day files: the order of `CODES` may only ever grow at its end.
"""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = 0
MAX_TAG: Final = 35  # the longest BCP-47 tag worth reading

# ISO 639-1 first, then three-letter languages that people write in on the network. Position + 1 is the number.
_TABLE: Final = """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el
    en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu
    ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na
    nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so
    sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu ast
    ceb chr ckb csb dsb fil frp gsw haw hil hmn hsb ilo jbo kab kok krl lad lij lld lmo mai mni mus nah nap nds nso
    pap pms rom rup sah sat scn sco sgs smn sms szl tok tpi vec vls war yue zgh
"""
CODES: Final = tuple(_TABLE.split())

# Other names for the same language: old two-letter codes and the three-letter codes of common languages.
_ALIASES: Final[dict[str, str]] = {
    "iw": "he", "in": "id", "ji": "yi", "jw": "jv", "mo": "ro", "sh": "sr", "cmn": "zh", "zho": "zh", "chi": "zh",
    "eng": "en", "por": "pt", "jpn": "ja", "spa": "es", "deu": "de", "ger": "de", "fra": "fr", "fre": "fr", "ita": "it",
    "nld": "nl", "dut": "nl", "kor": "ko", "rus": "ru", "ukr": "uk", "pol": "pl", "tur": "tr", "ara": "ar", "hin": "hi",
    "tha": "th", "vie": "vi", "ind": "id", "fin": "fi", "swe": "sv", "dan": "da", "nor": "no", "cat": "ca", "ces": "cs",
    "cze": "cs", "hun": "hu", "ell": "el", "gre": "el", "heb": "he", "fas": "fa", "per": "fa", "ron": "ro", "rum": "ro",
}  # fmt: skip

_NUMBERS: Final[dict[str, int]] = {code: i + 1 for i, code in enumerate(CODES)}
_NUMBERS.update({alias: _NUMBERS[code] for alias, code in _ALIASES.items()})


def number(tag: str) -> int:
    """The number of a BCP-47 tag's language ("pt-BR" is "pt"); UNKNOWN for anything else."""
    known = _NUMBERS.get(tag)
    if known is not None:
        return known
    if len(tag) > MAX_TAG:
        return UNKNOWN
    return _NUMBERS.get(tag.replace("_", "-").split("-", 1)[0].lower(), UNKNOWN)


def code(language: int) -> str:
    """The code of a number; "" for UNKNOWN and for numbers that nobody gave."""
    return CODES[language - 1] if 0 < language <= len(CODES) else ""
