"""Folds and shares: nnU-Net's own without groups, whole groups otherwise, and the same whatever the order."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nnunet_ext.dataset_conversion.cases import Case
from nnunet_ext.dataset_conversion.masks import MaskFile
from nnunet_ext.dataset_conversion.pixels import ImageFile
from nnunet_ext.dataset_conversion.splits import (
    FIVE_FOLDS,
    SplitRule,
    fold_sentence,
    make_splits,
    straddling_groups,
    with_test_part,
)

STRUCTURES = ("Polyp", "Polyp", "Polyp", "Optic disc", "Melanoma")


def a_case(name: str, **columns) -> Case:
    return Case(name, ImageFile(Path(f"{name}.png")), MaskFile(Path(f"{name}_m.png")), **columns)


def plain_cases(n: int, **columns) -> list[Case]:
    return [a_case(f"c{i}", **columns) for i in range(n)]


def grouped_cases(seed: int, n_groups: int = 23, largest: int = 9, with_strata: bool = True) -> list[Case]:
    """Groups of 1 to ``largest`` cases; a structure belongs to a group."""
    rng = random.Random(seed)
    cases = []
    for group in range(n_groups):
        structure = rng.choice(STRUCTURES) if with_strata else ""
        cases += [
            a_case(f"g{group}x{i}", group=f"p{group}", structure=structure) for i in range(rng.randint(1, largest))
        ]
    rng.shuffle(cases)
    return cases


def folds_of(cases, rule=FIVE_FOLDS, same=None, warnings=()):
    problems = []
    splits = make_splits(cases, rule, same or {}, problems)
    assert [problem.code for problem in problems] == list(warnings)
    return splits


def complaint(cases, rule, same=None) -> str:
    problems = []
    cases = with_test_part(cases, rule, same or {}, problems)
    make_splits(cases, rule, same or {}, problems)
    assert problems
    assert not problems[0].is_warning
    return f"[{problems[0].code}] {problems[0].where} -> {problems[0].remedy}"


def held_out(cases, share, same=None, seed=12345, warnings=()) -> list[str]:
    problems = []
    divided = with_test_part(cases, SplitRule(test_share=share, seed=seed), same or {}, problems)
    assert [problem.code for problem in problems] == list(warnings)
    assert [case.name for case in divided] == [case.name for case in cases]
    return sorted(case.name for case in divided if case.is_test)


def assert_partition(splits, cases) -> None:
    """Every fold has every training case once, and each case validates once."""
    names = sorted(case.name for case in cases if not case.is_test)
    for fold in splits:
        assert sorted(fold["train"] + fold["val"]) == names
        assert fold["train"]
        assert fold["val"]
    assert sorted(name for fold in splits for name in fold["val"]) == names


def groups_on_both_sides(fold, cases) -> set[str]:
    group_of = {case.name: case.group for case in cases}
    return {group_of[name] for name in fold["train"]} & {group_of[name] for name in fold["val"]}


# ---------------------------------------------------------------------------------------------- cross-validation


@pytest.mark.parametrize("n", [5, 7, 50, 113])
def test_without_groups_the_folds_are_nnunets_own(n):
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    cases = plain_cases(n)
    random.Random(n).shuffle(cases)
    identifiers = list(np.sort([case.name for case in cases]))  # as nnUNetTrainer.do_split sorts them
    assert folds_of(cases) == generate_crossval_split(identifiers, seed=12345, n_splits=5)


@pytest.mark.parametrize("folds", [2, 4, 5, 10])
def test_fold_sizes_differ_by_one_at_most(folds):
    splits = folds_of(plain_cases(43), SplitRule(folds=folds))
    assert len(splits) == folds
    assert_partition(splits, plain_cases(43))
    sizes = Counter(len(fold["val"]) for fold in splits)
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("with_strata", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_groups_never_straddle(seed, with_strata):
    cases = grouped_cases(seed, with_strata=with_strata)
    splits = folds_of(cases, SplitRule(folds=5, seed=seed))
    assert_partition(splits, cases)
    for fold in splits:
        assert not groups_on_both_sides(fold, cases)
        assert len(fold["val"]) == pytest.approx(len(cases) / 5, abs=9)


@pytest.mark.parametrize("groups", ["", "p"])
def test_structures_keep_their_share_in_every_fold(groups):
    cases = [
        a_case(f"{structure[0]}{i}", structure=structure, group=groups and f"{groups}{structure}{i // 2}")
        for structure, n in (("Polyp", 60), ("Melanoma", 30), ("Optic disc", 10))
        for i in range(n)
    ]
    for fold in folds_of(cases):
        assert Counter(name[0] for name in fold["val"]) == {"P": 12, "M": 6, "O": 2}


def test_a_structure_with_fewer_cases_than_folds():
    cases = [*plain_cases(20, structure="Polyp"), a_case("rare", structure="Melanoma")]
    assert_partition(folds_of(cases), cases)
    few = [a_case(f"c{i}", structure=f"s{i}") for i in range(7)]
    assert_partition(folds_of(few), few)
    few_in_groups = [a_case(f"c{i}", structure=f"s{i}", group=f"g{i // 2}") for i in range(12)]
    assert_partition(folds_of(few_in_groups), few_in_groups)


def test_some_cases_without_a_group():
    cases = [a_case(f"c{i}", group=f"p{i // 4}" if i < 20 else "") for i in range(40)]
    splits = folds_of(cases)
    assert_partition(splits, cases)
    for fold in splits:
        assert groups_on_both_sides(fold, cases) <= {""}


def test_as_many_groups_as_folds():
    cases = [a_case(f"c{i}", group=f"p{i % 5}", structure=f"s{i % 3}") for i in range(30)]
    splits = folds_of(cases)
    assert_partition(splits, cases)
    assert sorted(len(fold["val"]) for fold in splits) == [6] * 5


def test_fewer_groups_than_folds():
    cases = [a_case(f"c{i}", group=f"p{i % 3}") for i in range(30)]
    message = complaint(cases, SplitRule())
    assert message.startswith(
        "[too-few-cases] 30 training cases in 3 groups (by name, or the same picture) for 5 folds"
    )
    assert message.endswith("pass --folds 3")
    assert_partition(folds_of(cases, SplitRule(folds=3)), cases)
    message = complaint([a_case(f"c{i}", group="p") for i in range(30)], SplitRule())
    assert message.endswith("add cases: at least 2 are needed")
    assert "0 training cases for 5 folds" in complaint([], SplitRule())


def test_one_huge_group_leaves_no_part_empty_but_is_told():
    cases = [a_case(f"c{i}", group="huge") for i in range(90)] + plain_cases(0)
    cases += [a_case(f"small{i}", group=f"p{i}", structure="rare") for i in range(4)]
    problems = []
    splits = make_splits(cases, SplitRule(), {}, problems)
    assert_partition(splits, cases)
    assert [(problem.code, problem.is_warning) for problem in problems] == [("folds-uneven", True)]
    assert "validates on 90 of 94 cases; even folds have 19" in problems[0].where


@pytest.mark.parametrize("seed", range(20))
def test_uneven_groups_never_leave_a_part_empty(seed):
    rng = random.Random(seed)
    n_groups, folds = rng.randint(5, 8), 5
    cases = [
        a_case(f"g{group}x{i}", group=f"p{group}", structure=rng.choice("abc"))
        for group in range(n_groups)
        for i in range(rng.choice([1, 1, 2, 60]))
    ]
    splits = make_splits(cases, SplitRule(folds=folds, seed=seed), {}, [])
    assert_partition(splits, cases)


# ---------------------------------------------------------------------------------------------- official parts


def official_cases(n_train=12, n_val=4, **columns) -> list[Case]:
    return [a_case(f"c{i}", split="train" if i < n_train else "val", **columns) for i in range(n_train + n_val)]


def test_an_official_validation_part_is_fold_0():
    cases = [*official_cases(), a_case("t", split="test")]
    (fold,) = folds_of(cases)
    assert fold == {"train": sorted(f"c{i}" for i in range(12)), "val": [f"c{i}" for i in range(12, 16)]}
    assert next(fold_sentence([fold], 7, cases, SplitRule(), {})).startswith(
        "splits_final.json has fold 0: nnUNetv2_train 7 CONFIGURATION 1"
    )


def test_folds_may_follow_an_official_validation_part():
    cases = official_cases()
    first, *others = folds_of(cases, SplitRule(folds=5))
    assert first == folds_of(cases)[0]
    assert_partition(others, cases)
    assert others == folds_of(plain_cases(16))
    assert not list(fold_sentence([first, *others], 7, cases, SplitRule(folds=5), {}))


def test_nothing_but_an_official_validation_part():
    assert complaint(official_cases(0, 5), SplitRule()).startswith("[no-training-cases]")


def test_a_second_validation_or_test_part_is_refused():
    message = complaint(official_cases(), SplitRule(val_share=0.3))
    assert message.startswith("[flags-exclude] --val-share 0.3, but there are 4 validation cases already")
    message = complaint([*plain_cases(9), a_case("t", split="test")], SplitRule(test_share=0.3))
    assert message.startswith("[flags-exclude] --test-share 0.3, but there are 1 test case already")


def test_a_group_in_several_parts():
    cases = [*official_cases(group="p1"), a_case("t", split="test", group="p2"), a_case("u", group="p2")]
    problems = []
    make_splits(cases, SplitRule(), {}, problems)
    assert [problem.code for problem in problems] == ["group-straddles"] * 2
    assert problems[0].where == "group 'p1': c0 in train, c12 in val"
    assert "--allow-straddling" in problems[0].remedy
    folds_of(cases, SplitRule(straddling=True), warnings=["group-straddles"] * 2)
    (told, _) = straddling_groups(cases, allowed=True)
    assert (told.is_warning, "--allow-straddling" in told.remedy) == (True, False)


@pytest.mark.parametrize(
    ("cases", "rule", "advice"),
    [
        (official_cases(), SplitRule(), "(pass --folds 5 for a cross-validation)"),
        (plain_cases(9), SplitRule(val_share=0.3), "(--folds 5 instead of --val-share for a cross-validation)"),
        (plain_cases(9), SplitRule(folds=4), ""),
        (official_cases(2, 2), SplitRule(), ""),
        ([*official_cases(2, 2), a_case("t", split="test")], SplitRule(), ""),
    ],
)
def test_five_folds_are_named_where_they_can_be_made(cases, rule, advice):
    (sentence,) = fold_sentence(folds_of(cases, rule), 7, cases, rule, {})
    assert sentence.endswith("would train on a random 80:20 split" + (" " + advice if advice else ""))


# ---------------------------------------------------------------------------------------------- shares


@pytest.mark.parametrize("share", [0.01, 0.02, 0.1, 0.2, 0.25, 0.3, 1 / 3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("n", [100, 612, 37])
def test_shares_are_exact_without_groups(n, share):
    names = held_out(plain_cases(n), share)
    assert abs(len(names) - share * n) <= max(0.5, 1 - share * n, 1 - (1 - share) * n) + 1e-9
    (fold,) = folds_of(plain_cases(n), SplitRule(val_share=share))
    assert fold["val"] == sorted(names)
    assert sorted(fold["train"] + fold["val"]) == sorted(f"c{i}" for i in range(n))


def test_a_share_is_drawn_at_random():
    first, second = (held_out(plain_cases(100), 0.3, seed=seed) for seed in (1, 2))
    assert first != second
    assert first != sorted(f"c{i}" for i in range(30))


def test_test_and_validation_share_together():
    cases = with_test_part(plain_cases(100), SplitRule(test_share=0.2), {}, [])
    (fold,) = folds_of(cases, SplitRule(val_share=0.25))
    assert (len(fold["train"]), len(fold["val"])) == (60, 20)
    assert not {*fold["train"], *fold["val"]} & {case.name for case in cases if case.is_test}


@pytest.mark.parametrize("with_strata", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_shares_keep_groups_whole(seed, with_strata):
    cases = grouped_cases(seed, with_strata=with_strata)
    names = held_out(cases, 0.3, seed=seed)
    assert len(names) == pytest.approx(0.3 * len(cases), abs=3)
    (fold,) = folds_of(cases, SplitRule(val_share=0.3, seed=seed))
    assert fold["val"] == names
    assert not groups_on_both_sides(fold, cases)


def test_structures_keep_their_share_in_a_part():
    cases = [a_case(f"{s[0]}{i}", structure=s) for s, n in (("Polyp", 60), ("Melanoma", 30)) for i in range(n)]
    assert Counter(name[0] for name in held_out(cases, 0.3)) == {"P": 18, "M": 9}
    many = [a_case(f"s{s}x{i}", structure=f"s{s}") for s in range(10) for i in range(44)]
    names = held_out(many, 0.1)
    assert len(names) == pytest.approx(44, abs=1)
    assert set(Counter(name.partition("x")[0] for name in names).values()) == {4, 5}


def test_groups_too_large_for_a_share_are_told():
    cases = [*plain_cases(90, group="huge"), *(a_case(f"d{i}", group="small") for i in range(10))]
    names = held_out(cases, 0.3, warnings=["share-differs"])
    assert len(names) == 10
    assert "at least 2 are needed" in complaint(plain_cases(9, group="one"), SplitRule(test_share=0.3))
    assert "at least 2 are needed" in complaint(plain_cases(9, group="one"), SplitRule(val_share=0.3))


@pytest.mark.parametrize("value", [0, 1, -0.1, 30])
def test_shares_out_of_range(value):
    flags = SplitRule(test_share=value, val_share=value, folds=None)
    assert [problem.code for problem in flags.problems()] == ["share-range"] * 2


# ---------------------------------------------------------------------------------------------- twins, order


def test_twins_are_on_one_side():
    same = {f"c{i + 20}": f"c{i}" for i in range(10)}
    for fold in folds_of(plain_cases(40), same=same):
        for name, twin in same.items():
            assert (name in fold["val"]) == (twin in fold["val"])
    names = held_out(plain_cases(40), 0.3, same)
    assert len(names) in (11, 12, 13)
    assert all((name in names) == (twin in names) for name, twin in same.items())


def test_twins_join_their_groups():
    cases = grouped_cases(3)
    first, second, third = (next(case.name for case in cases if case.group == group) for group in ("p1", "p2", "p3"))
    joined = {case.name for case in cases if case.group in ("p1", "p2", "p3")}
    for fold in folds_of(cases, same={second: first, third: second}):
        assert len({name in fold["val"] for name in joined}) == 1


@pytest.mark.parametrize("rule", [SplitRule(), SplitRule(val_share=0.3), SplitRule(folds=3, seed=5)])
@pytest.mark.parametrize("kind", ["plain", "groups", "twins"])
def test_the_order_of_the_cases_makes_no_difference(rule, kind):
    cases = plain_cases(40) if kind == "plain" else grouped_cases(1)
    chosen = [case.name for case in sorted(cases, key=lambda case: case.name)]
    couples = list(zip(chosen[:6], chosen[20:26], strict=True)) if kind == "twins" else []
    forward, backward = dict(couples), {b: a for a, b in couples}
    expected = folds_of(cases, rule, forward)
    expected_test = held_out(cases, 0.3, forward)
    assert folds_of(cases[::-1], rule, backward) == expected
    assert held_out(cases[::-1], 0.3, backward) == expected_test
    random.Random(9).shuffle(cases)
    assert folds_of(cases, rule, backward) == expected
    assert held_out(cases, 0.3, backward) == expected_test
