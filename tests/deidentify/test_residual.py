"""Names, identifiers and dates in text: found however written; clinical language and other people stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.deidentify import names
from gateway.deidentify.cleaner import Cleaner
from gateway.deidentify.residual import scrub
from gateway.deidentify.terms import Terms
from storage.records import Identity

IVANOV = "Ivanov^Ivan^Petrovich=Иванов^Иван^Петрович"


def cleaner(*removed: tuple[str, str]) -> Cleaner:
    return Cleaner(Terms(removed))


def found(text: str, *removed: tuple[str, str]) -> list[str]:
    return [text[start:end] for start, end in cleaner(*(removed or (("name", IVANOV),))).find(text)]


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("Щукин", "Shchukin Schukin Shhukin Ščukin Щукину Щукиным щукина"),
        ("Хрущёв", "Khrushchev Khrushchov Hruschev Хрущева Хрущеву Khrushcheva"),
        ("Юрий", "Yuri Yuriy Iurii Jurij Yury Юрию Юрия Юрием"),
        ("Александра", "Aleksandra Alexandra Александре Александру Александрой"),
        ("Чайковский", "Tchaikovsky Chaikovskii Chaykovskiy Чайковского Чайковскому Чайковская Чайковской"),
        ("Мария", "Maria Mariya Mariia Marija Марии Марию Марией"),
        ("Павел", "Pavel Павла Павлу Павлом Павле"),
        ("Толстой", "Tolstoy Tolstoi Толстого Толстому Толстым Толстая"),
        ("Müller", "MULLER Mueller müller"),
        ("O'Brien", "OBrien O'BRIEN Brien"),
        ("Shevchenko", "Шевченко SHEVCHENKO"),
        ("Цветаева", "Tsvetaeva Cvetaeva Tsvetaevoy Цветаевой Цветаеву"),
        ("Жуков", "Zhukov Jukov Žukov Жукову"),
    ],
)
def test_spellings_of_a_name(name: str, spellings: str) -> None:
    for spelling in spellings.split():
        assert found(f"CT {spelling} 5 mm", ("name", name)), spelling


@pytest.mark.parametrize(
    "text",
    [
        "Иванов И.П., 53 года",
        "И. П. Иванов",
        "КТ Иванову",
        "IVANOV_IVAN_CT",
        "ivanov-20240101",
        "IvanovIvan",
        "IvanovIP",
        "Ivanov's scan",
        "PelvisIvanov",
        "тазИванову",
        "Ивaнoв",  # two Latin letters among Cyrillic ones
    ],
)
def test_a_name_in_its_surroundings(text: str) -> None:
    assert found(text)


@pytest.mark.parametrize(
    "text",
    [
        "КТ ОГК с контрастом",
        "AX T2 FLAIR",
        "Иваново, областная",
        "ivory",
        "петрозит",
        "отверстие",
        "CT 5.0 B30f",
        "вид сбоку",
    ],
)
def test_other_words_stay(text: str) -> None:
    assert found(text) == []


def test_eponyms_are_judged_by_context() -> None:
    removed = ("name", "Паркинсон^Джон")
    assert found("болезнь Паркинсона", removed) == []
    assert found("Parkinson's disease, stage 2", removed) == []
    assert found("консультация Паркинсона", removed) == ["Паркинсона"]
    assert found("болезнь Паркинсона у Джона Паркинсона", removed) == ["Джона", "Паркинсона"]


def test_names_that_are_clinical_words_count_beside_another_part() -> None:
    removed = ("name", "Head^Young")
    assert found("CT Head without contrast", removed) == []
    assert found("CT Head Young", removed) == ["Head", "Young"]
    assert found("patient Head", removed) == ["Head"]


@pytest.mark.parametrize(
    "text",
    [
        "23.08.1961",
        "23/08/61",
        "8/23/1961",
        "1961-08-23",
        "19610823",
        "23081961",
        "23 Aug 1961",
        "August 23, 1961",
        "23 августа 1961 г.",
        "61-08-23",
    ],
)
def test_birth_dates(text: str) -> None:
    assert found(f"born {text}.", ("birth", "19610823"))


@pytest.mark.parametrize("text", ["24.08.1961", "1961", "23.08", "119610823", "5.1961"])
def test_other_numbers_stay(text: str) -> None:
    assert found(text, ("birth", "19610823")) == []


def test_identifiers_with_other_separators() -> None:
    for text in ("K-7740912/83", "K774091283", "k 7740912 83", "ID:7740912-83"):
        assert found(text, ("id", "K-7740912/83")), text
    assert found("12345678", ("id", "0012345678"))
    assert found("123", ("id", "123")) == []
    assert found("ID 123", ("id", "123"))
    assert found("slice 1234567", ("id", "234567")) == []


def test_phones_and_addresses() -> None:
    assert found("тел. 8(912)5553821", ("phone", "+7 (912) 555-38-21"))
    assert found("+79125553821", ("phone", "8 912 555-38-21"))
    assert found("живёт: Академика Павлова, д. 17", ("address", "ул. Академика Павлова, д. 17")) == []
    assert found("живёт: ул Академика Павлова 17", ("address", "ул. Академика Павлова, 17"))


def test_scrub_is_for_one_patient() -> None:
    identity = Identity(
        ("ISO_IR 144",),
        {
            0x00100010: ("PN", "Иванов^Иван^Петрович".encode("iso8859-5")),
            0x00100020: ("LO", b"778899 "),
            0x00100030: ("DA", b"19700312"),
        },
    )
    text = (
        "Прошу оценить динамику у Иванова И.П. (12.03.1970, ИБ 778899), узел S6, врач Сидоров. Болезнь Крона?"
    )
    assert (
        scrub(text, identity)
        == "Прошу оценить динамику у *** (***, ИБ ***), узел S6, врач Сидоров. Болезнь Крона?"
    )


@given(st.text(max_size=60))
def test_cleaning_leaves_nothing_to_find(text: str) -> None:
    one = cleaner(("name", IVANOV), ("id", "778899"), ("birth", "19700312"), ("phone", "+7 912 555 38 21"))
    dirty = f"{text} Иванову {text}, 12.03.1970 {text}"
    assert one.find(one.clean(dirty, prose=True, code=False, shift=-100), prose=True) == []


@given(st.text(alphabet="абвгдежзийклмнопрстуфхцчшщъыьэюя", min_size=1, max_size=15))
def test_a_skeleton_does_not_depend_on_the_script(word: str) -> None:
    roman = names.romanised(word)
    assert names.skeleton(word) == names.skeleton(roman)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text", ["a" * 300_000, "Иванову И.П. " * 10_000, "1." * 100_000, "И.И. " * 30_000, "a'" * 50_000]
)
def test_long_texts_take_linear_time(text: str) -> None:
    one = cleaner(("name", IVANOV), ("id", "778899"), ("birth", "19700312"))
    one.clean(text, prose=True, code=False, shift=-100)
