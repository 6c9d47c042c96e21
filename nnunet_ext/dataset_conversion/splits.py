"""Which cases train, validate and test: official parts kept, otherwise folds that keep groups whole."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnunet_ext.dataset_conversion.cases import SPLITS, Case
from nnunet_ext.dataset_conversion.problems import Problem, counted

NNUNETS_FOLDS = 5
NNUNETS_SEED = 12345
UNEVEN = 2  # times its even share of the cases, in one fold
OFF = 0.05  # of all cases, between the share that was asked for and the one that whole groups allow
Fold = dict[str, list[str]]


@dataclass(frozen=True)
class SplitRule:
    """How cases are divided where the data set does not say it.

    Attributes:
        folds: folds of a cross-validation; None for five, or none besides an official validation part.
        val_share: share of the training cases in a single validation part, instead of folds.
        test_share: share of all cases that is held out for test; the same whatever order the cases are found in.
        seed: of the shuffling.
        straddling: whether a group may lie in several official parts; it is a warning then.
        usual_folds: how many "five" are, where a paper has another number.
    """

    folds: int | None = None
    val_share: float | None = None
    test_share: float | None = None
    seed: int = NNUNETS_SEED
    straddling: bool = False
    usual_folds: int = NNUNETS_FOLDS

    def problems(self) -> Iterator[Problem]:
        """Check the flags themselves."""
        for flag, share in (("--val-share", self.val_share), ("--test-share", self.test_share)):
            if share is not None and not 0 < share < 1:
                where, remedy = f"{flag} {share}; allowed are numbers between 0 and 1", f"type for example {flag} 0.3"
                yield Problem("share-range", "share out of range", where, remedy)
        if self.folds is not None and self.folds < 2:
            where, remedy = (
                f"--folds {self.folds}; allowed are 2 or more",
                "for a single validation part: --val-share 0.3",
            )
            yield Problem("folds-range", "too few folds", where, remedy)
        if self.folds is not None and self.val_share is not None:
            where = f"--folds {self.folds} and --val-share {self.val_share}"
            yield Problem("flags-exclude", "two flags that exclude each other", where, "leave one of the two away")


FIVE_FOLDS = SplitRule()


def with_test_part(
    cases: Sequence[Case], rule: SplitRule, same: Mapping[str, str], problems: list[Problem]
) -> list[Case]:
    """Hold out ``rule.test_share`` of the cases; groups stay whole, structures and modalities keep their shares.

    Cases of a validation part are divided like the others.
    """
    if rule.test_share is None:
        return list(cases)
    if any(case.is_test for case in cases):
        n = sum(case.is_test for case in cases)
        where = f"--test-share {rule.test_share}, but there are {counted(n, 'test case')} already"
        problems.append(Problem("flags-exclude", "a second test part", where, "leave --test-share away"))
        return list(cases)
    held_out = _share_of(cases, rule.test_share, rule.seed, same, "--test-share", problems)
    return [replace(case, split="test") if case.name in held_out else case for case in cases]


def make_splits(cases: Sequence[Case], rule: SplitRule, same: Mapping[str, str], problems: list[Problem]) -> list[Fold]:
    """Return what goes to nnU-Net's ``splits_final.json``.

    An official validation part is fold 0; cross-validation folds follow if ``rule.folds`` asks for them. Without
    groups, structures and modalities the five folds are those that nnU-Net would make itself.

    Args:
        cases: all cases; those for test are left out.
        rule: what the flags say.
        same: case -> earlier case with the same picture; both stay on one side.
        problems: what is wrong is appended here.
    """
    train = sorted((case for case in cases if not case.is_test), key=lambda case: case.name)
    n_before = len(problems)
    problems += straddling_groups(cases, rule.straddling)
    official = [case.name for case in train if case.split == "val"]
    splits: list[Fold] = []
    if official:
        splits.append({"train": [c.name for c in train if c.split == "train"], "val": official})
        if not splits[0]["train"]:
            where, remedy = "all training cases are in the validation part", "name cases to train on"
            problems.append(Problem("no-training-cases", "nothing to train on", where, remedy))
    if rule.val_share is not None and official:
        n = counted(len(official), "validation case")
        where = f"--val-share {rule.val_share}, but there are {n} already"
        problems.append(Problem("flags-exclude", "a second validation part", where, "leave --val-share away"))
    elif rule.val_share is not None:
        chosen = _share_of(train, rule.val_share, rule.seed, same, "--val-share", problems)
        names = [case.name for case in train]
        splits.append({"train": [n for n in names if n not in chosen], "val": [n for n in names if n in chosen]})
    elif rule.folds is not None or not official:
        splits += _cross_validation(train, rule.folds or rule.usual_folds, rule.seed, same, problems)
    if len(problems) == n_before or all(problem.is_warning for problem in problems[n_before:]):
        _check(splits, train)
    return splits


def fold_sentence(
    splits: Sequence[Fold], dataset_id: int, cases: Sequence[Case], rule: SplitRule, same: Mapping[str, str]
) -> Iterator[str]:
    """Say which folds can be trained; nnU-Net trains others on a random 80:20 split without stopping.

    Five folds are named as a way out where groups are enough for them, and folds were not asked for.
    """
    if splits and len(splits) < NNUNETS_FOLDS:
        n_groups = len(set(_groups([case for case in cases if not case.is_test], same)))
        advice = "pass --folds 5" if rule.val_share is None else "--folds 5 instead of --val-share"
        advice = "" if rule.folds is not None or n_groups < NNUNETS_FOLDS else f" ({advice} for a cross-validation)"
        have = "fold 0" if len(splits) == 1 else f"folds 0 to {len(splits) - 1}"
        yield (
            f"splits_final.json has {have}: nnUNetv2_train {dataset_id} CONFIGURATION {len(splits)} and higher would "
            f"train on a random 80:20 split{advice}"
        )


def straddling_groups(cases: Sequence[Case], allowed: bool) -> Iterator[Problem]:
    """Check that no group is in several of train, val and test."""
    parts_of: dict[str, dict[str, Case]] = {}
    for case in cases:
        if case.group:
            parts_of.setdefault(case.group, {}).setdefault(case.split, case)
    for group, parts in sorted(parts_of.items()):
        if len(parts) > 1:
            examples = ", ".join(f"{parts[split].name} in {split}" for split in SPLITS if split in parts)
            where = f"group {group!r}: {examples}"
            remedy = "scores would be too good: put each group into one part, or "
            remedy += "take it as it is with --allow-straddling"
            if allowed:
                remedy = "the parts are taken as they are; say so with the scores, which are too good on such groups"
            what = "groups in several parts"
            yield Problem("group-straddles", what, where, remedy, is_warning=allowed)


def _cross_validation(
    train: Sequence[Case], folds: int, seed: int, same: Mapping[str, str], problems: list[Problem]
) -> list[Fold]:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    names = [case.name for case in train]
    groups = _groups(train, same)
    n_groups = len(set(groups))
    if n_groups < folds:
        what = counted(len(names), "training case")
        what += f" in {counted(n_groups, 'group')} (by name, or the same picture)" if n_groups < len(names) else ""
        where = f"{what} for {folds} folds (--folds); each fold needs one to validate on"
        remedy = f"add cases, or pass --folds {n_groups}" if n_groups > 1 else "add cases: at least 2 are needed"
        problems.append(Problem("too-few-cases", "too few training pairs", where, remedy))
        return []
    if n_groups == len(names) and len(set(_strata(train))) == 1:
        made = generate_crossval_split(names, seed=seed, n_splits=folds)
        return [{part: [str(name) for name in fold[part]] for part in ("train", "val")} for fold in made]
    part_of = _parts(train, folds, seed, groups)
    problems += _uneven(part_of, folds)
    return [
        {"train": [n for n in names if part_of[n] != fold], "val": [n for n in names if part_of[n] == fold]}
        for fold in range(folds)
    ]


def _uneven(part_of: Mapping[str, int], folds: int) -> Iterator[Problem]:
    """Warn of a fold that large groups have made much larger than the others."""
    part, n = Counter(part_of.values()).most_common(1)[0]
    if n * folds > UNEVEN * len(part_of):
        where = f"fold {part} validates on {n} of {len(part_of)} cases; even folds have {len(part_of) / folds:.0f}"
        remedy = "nothing to do if groups are really that large; otherwise correct them, or pass fewer --folds"
        yield Problem("folds-uneven", "groups too large for even folds", where, remedy, is_warning=True)


def _share_of(
    cases: Sequence[Case], share: float, seed: int, same: Mapping[str, str], flag: str, problems: list[Problem]
) -> set[str]:
    """Names of about ``share`` of the cases; the nearest number if there are no groups and one structure."""
    cases = sorted(cases, key=lambda case: case.name)
    members: dict[str, list[Case]] = {}
    for case, group in zip(cases, _groups(cases, same), strict=True):
        members.setdefault(group, []).append(case)
    if len(members) < 2 or not 0 < share < 1:
        has = f"{counted(len(cases), 'case')} in {counted(len(members), 'group')}"
        where = f"{flag} {share} of {has}; at least 2 are needed"
        problems.append(Problem("too-few-cases", "too few cases to divide", where, f"leave {flag} away"))
        return set()
    chosen = _filled(list(members.values()), share, seed)
    if abs(len(chosen) / len(cases) - share) > OFF:
        where = f"{flag} {share}: {len(chosen)} of {len(cases)} cases, as {len(members)} groups stay whole"
        remedy = "nothing to do if the groups are right; otherwise correct them, or pass another share"
        problems.append(Problem("share-differs", "groups too large for the share", where, remedy, is_warning=True))
    return chosen


def _filled(groups: Sequence[Sequence[Case]], share: float, seed: int) -> set[str]:
    """Put whole groups, large ones first, to the side where every stratum, and the whole, is filled less so far."""
    strata = [Counter([*_strata(group), *["all"] * len(group)]) for group in groups]
    order = sorted(np.random.default_rng(seed).permutation(len(groups)).tolist(), key=lambda i: -len(groups[i]))
    total = sum(strata, Counter[str]())
    inside, outside = Counter[str](), Counter[str]()

    def fill(side: Counter[str], counts: Counter[str], part: float) -> float:
        return sum(n * (side[stratum] + n / 2) / (part * total[stratum]) for stratum, n in counts.items())

    chosen = []
    for index in order:
        counts = strata[index]
        is_chosen = fill(inside, counts, share) < fill(outside, counts, 1 - share)
        (inside if is_chosen else outside).update(counts)
        chosen += [index] if is_chosen else []
    if not chosen or len(chosen) == len(groups):  # neither side may be empty
        chosen = order[-1:] if not chosen else chosen[:-1]
    return {case.name for index in chosen for case in groups[index]}


def _parts(cases: Sequence[Case], n: int, seed: int, groups: Sequence[str]) -> dict[str, int]:
    """``{case: part}`` of ``n`` parts of about equal size, stratified, with no group in two parts."""
    from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

    strata = _strata(cases)
    if len(set(groups)) < len(cases):
        splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
    elif len(set(strata)) > 1 and max(strata.count(s) for s in set(strata)) >= n:
        splitter = StratifiedKFold(n, shuffle=True, random_state=seed)
    else:
        splitter = KFold(n, shuffle=True, random_state=seed)
    if isinstance(splitter, StratifiedGroupKFold) and max(strata.count(s) for s in set(strata)) < n:
        strata = ["" for _ in strata]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a rare structure cannot be in every part
        parts = list(splitter.split(np.zeros(len(cases)), strata, groups))
    return {cases[i].name: part for part, (_, chosen) in enumerate(parts) for i in chosen}


def _strata(cases: Sequence[Case]) -> list[str]:
    return [f"{case.structure}/{case.modality}" for case in cases]


def _groups(cases: Sequence[Case], same: Mapping[str, str]) -> list[str]:
    """Name each case's group; groups that share a picture are one, cases without group are their own."""
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.get(key, key) != key:
            key = leader[key]
        return key

    key_of = {case.name: f"group {case.group}" if case.group else f"case {case.name}" for case in cases}
    for name, twin in same.items():
        if name in key_of and twin in key_of:
            first, second = sorted((find(key_of[name]), find(key_of[twin])))  # whichever case was found first
            leader[second] = first
    return [find(key_of[case.name]) for case in cases]


def _check(splits: Sequence[Fold], train: Sequence[Case]) -> None:
    """Make sure that every fold has every training case once."""
    for number, fold in enumerate(splits):
        if sorted([*fold["train"], *fold["val"]]) != sorted(case.name for case in train) or not fold["val"]:
            raise RuntimeError(f"fold {number} does not divide the training cases")
