"""Unquoted YAML words of manifests, and the JSON values that kubectl makes of them."""

from __future__ import annotations

WORDS: dict[str, object] = {
    **dict.fromkeys(("y", "Y", "yes", "on", "ON", "true", "True"), True),
    **dict.fromkeys(("n", "N", "no", "Off", "FALSE", "false"), False),
    **dict.fromkeys(("", "~", "null", "NULL")),
    # Words that only look like these.
    **{word: word for word in ("yeS", "nULL", "tRue", "none", "None")},
    # Whole numbers.
    "0": 0,
    "-0": 0,
    "+7": 7,
    "0400": 256,
    "0555": 365,
    "-010": -8,
    "0o17": 15,
    "0O17": 15,
    "0x1F": 31,
    "-0xff": -255,
    "0b101": 5,
    "1_000": 1000,
    "0_400": 256,
    "9223372036854775807": 9223372036854775807,
    # Floats, and whole ones as Helm writes them.
    "08": 8,
    "0899": 899,
    "1.2096e+06": 1209600,
    "1e3": 1000,
    "1.0": 1,
    "3.": 3,
    "0.5": 0.5,
    ".5": 0.5,
    "-1.5e-3": -0.0015,
    "1_0.5": 10.5,
    "1e21": 1e21,
    "1e20": 100000000000000000000,
    # Too large for a whole number.
    "99999999999999999999999999": 1e26,
    "0777777777777777777777777777777": 7.777777777777778e29,
    "0xffffffffffffffffff": "0xffffffffffffffffff",
    "0b" + "1" * 70: "0b" + "1" * 70,
    # Texts.
    **{
        word: word
        for word in (
            *("2026-11-29", "2026-11-29T10:00:00Z", "12:30:45", "190:20:30", "1.2.3"),
            *("0xg", "0b2", "1e", "e3", ".", "-", "+", "..5", "_1", "1Gi", "500m", "-.5.5", "0o8"),
            *("1__0_x", "12e03x", "=", "<<a", "a_b"),
        )
        if word != "-"
    },
    # Quoted or tagged.
    "'0400'": "0400",
    '"yes"': "yes",
    "!!str 0400": "0400",
    "!!str yes": "yes",
    "!!binary aGVsbG8=": "hello",
    "!mine 0400": "0400",
    "|-\n  0400": "0400",
}
