"""Lists the changes between two versions of a type, and which of them break callers of the old version.

Callers of the old version write arguments, and a server of the new version reads them. For results it is the other way
round. So the same change may be compatible in a parameter and breaking in a result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import UnsetType

from meshcore.contract.compatible import READABLE, default_change, disjoint, members_of, within
from meshcore.contract.contract import Field, Structure, Type, constants, union_key


class Difference(msgspec.Struct, frozen=True):
    """One change, and whether it breaks callers of the old version."""

    text: str
    breaking: bool


_Types = Mapping[str, Structure]


class TypeComparison:
    """Compares types of two versions of one service. Each pair of structures is compared once.

    Args:
        old: the structures of the old version.
        new: the structures of the new version.
        sent: whether callers send values of the types. Otherwise they receive them.

    Attributes:
        found: the changes so far.
    """

    def __init__(self, old: _Types, new: _Types, *, sent: bool) -> None:
        self._old = old
        self._new = new
        self._sent = sent
        self._seen: set[tuple[str, str]] = set()
        self._equal_pairs: dict[tuple[str, str], bool] = {}
        self.found: list[Difference] = []

    def types(self, old: Type, new: Type, place: str) -> None:
        """Compare types. A type that is no union counts as a union of one member."""
        olds, news = members_of(old), members_of(new)
        if len(olds) == len(news) == 1 and olds[0].kind == news[0].kind:
            self._same_kind(olds[0], news[0], place)
            return
        pairs, left_old, left_new = self._pairs(olds, news)
        for one, other in pairs:
            self._same_kind(one, other, place)
        if not left_old and not left_new:
            return
        if len(olds) == len(news) == 1:
            self._say(f"{place} is now {new}, was {old}", breaking=not self._reads(old, new))
        elif self._sent:
            for one in left_old:
                taken = any(self._reads(one, other) for other in news)
                self._say(
                    f"{place} {'is now read as' if taken else 'is no longer'} {_other(one, new, taken)}", not taken
                )
            for other in left_new:
                self._say(f"{place} may be {other} too", breaking=False)
        else:
            for other in left_new:
                known = any(self._reads(one, other) for one in olds)
                self._say(f"{place} may now be {other}{'' if known else ', which callers do not expect'}", not known)
            for one in left_old:
                self._say(f"{place} is never {one} any more", breaking=False)

    def fields(self, old: Sequence[Field], new: Sequence[Field], place: str, *, closed: bool = False) -> None:
        """Compare fields by name.

        Args:
            old: the fields of the old version.
            new: the fields of the new version.
            place: the place of their structure, for the texts.
            closed: whether the reader refuses unknown fields.
        """
        olds, news = {field.name: field for field in old}, {field.name: field for field in new}
        for name, field in olds.items():
            where = f"{place}.{name}"
            if name in news:
                self._field(field, news[name], where)
            elif self._sent:
                self._say(f"{where} is gone: what callers put there is {'refused' if closed else 'lost'}")
            elif field.required:
                self._say(f"{where} is gone, and callers need it")
            else:
                self._say(f"{where} is gone, and callers take its default", breaking=False)
        for name, field in news.items():
            if name not in olds:
                where = f"{place}.{name}"
                if self._sent:
                    self._say(f"{where} is new and {_need(field)}", breaking=field.required)
                else:
                    refused = ", and callers refuse what they do not know" if closed else ""
                    self._say(f"{where} is new{refused}", breaking=closed)

    def _say(self, text: str, breaking: bool = True) -> None:  # noqa: FBT001, FBT002
        self.found.append(Difference(text, breaking))

    def _pairs(
        self, olds: Sequence[Type], news: Sequence[Type]
    ) -> tuple[list[tuple[Type, Type]], list[Type], list[Type]]:
        """Pair the members of two unions. Returns the pairs, and the members of either that have no counterpart."""
        by_kind: defaultdict[object, tuple[list[Type], list[Type]]] = defaultdict(lambda: ([], []))
        for one in olds:
            by_kind[union_key(one, self._old)][0].append(one)
        for other in news:
            by_kind[union_key(other, self._new)][1].append(other)
        pairs: list[tuple[Type, Type]] = []
        left_old: list[Type] = []
        left_new: list[Type] = []
        for those, these in by_kind.values():
            # A single member of a kind is paired by its kind. Several, which only pydantic models allow, are paired by
            # a field, or if they are equal.
            several = len(those) > 1 or len(these) > 1
            alike = self._alike(those, these) if several else _one_of_a_kind
            for one in those:
                if found := [each for each in these if alike(one, each)]:
                    these.remove(found[0])
                    pairs.append((one, found[0]))
                else:
                    left_old.append(one)
            left_new += these
        return pairs, left_old, left_new

    def _alike(self, olds: Sequence[Type], news: Sequence[Type]) -> Callable[[Type, Type], bool]:
        """Return what pairs members of one kind: a tag that all of them have, or equality."""
        before, after = (
            [constants(each, types) for each in some] for some, types in ((olds, self._old), (news, self._new))
        )
        common = set[str].intersection(*(set(each) for each in before + after))
        for name in sorted(common):
            if all(disjoint(each[name] for each in side) for side in (before, after)):
                return lambda one, other: bool(constants(one, self._old)[name] & constants(other, self._new)[name])
        return self._equal

    def _equal(self, old: Type, new: Type) -> bool:
        """Return whether two types are equal. Results are kept, since nested members are compared many times.

        During a comparison its pair counts as equal: types that contain each other differ elsewhere if at all.
        """
        pair = (repr(old), repr(new))
        if pair not in self._equal_pairs:
            self._equal_pairs[pair] = True
            self._equal_pairs[pair] = not self._trial(old, new)
        return self._equal_pairs[pair]

    def _same_kind(self, old: Type, new: Type, place: str) -> None:
        match old.kind:
            case "ref":
                self._structures(old.name, new.name, place)
            case "enum":
                self._values(old, new, place)
            case "tuple" if len(old.parts) != len(new.parts):
                self._say(f"{place} has {len(new.parts)} items now, had {len(old.parts)}")
            case _:
                steps = _STEPS.get(old.kind) or [f"[{index}]" for index in range(len(old.parts))]
                for step, one, other in zip(steps, old.parts, new.parts, strict=True):
                    self.types(one, other, place + step)
        if old.limits != new.limits:
            written, read = (old, new) if self._sent else (new, old)
            text = f"{place} is now {new}, was {old}"
            self._say(text, breaking=not within(written.limits, read.limits))

    def _values(self, old: Type, new: Type, place: str) -> None:
        gone = [repr(value) for value in old.values if value not in new.values]
        added = [repr(value) for value in new.values if value not in old.values]
        if gone:
            text = "is no longer taken" if self._sent else "does not come any more"
            self._say(f"{place}: {', '.join(gone)} {text}", breaking=self._sent)
        if added:
            text = "is taken too" if self._sent else "may come now, which callers do not know"
            self._say(f"{place}: {', '.join(added)} {text}", breaking=not self._sent)

    def _structures(self, old_name: str, new_name: str, place: str) -> None:
        if (old_name, new_name) in self._seen:
            return
        self._seen.add((old_name, new_name))
        old, new = self._old[old_name], self._new[new_name]
        if old.record != new.record:
            self._say(f"{place} is written as {'an array' if new.record else 'an object'} now")
            return
        if old.tag != new.tag:
            self._say(f"{place} has the tag {_tag(new)} now, had {_tag(old)}")
        names, others = [field.name for field in old.fields], [field.name for field in new.fields]
        shared = min(len(names), len(others))
        if old.record and names[:shared] != others[:shared]:
            self._say(f"{place} has its items in another order: {', '.join(others)}; was {', '.join(names)}")
            return
        self.fields(old.fields, new.fields, place, closed=new.closed if self._sent else old.closed)
        if old.closed != new.closed:
            self._say(f"{place} {'refuses' if new.closed else 'ignores'} fields that it does not know", breaking=False)

    def _field(self, old: Field, new: Field, place: str) -> None:
        self.types(old.type, new.type, place)
        if self._sent and old.required != new.required:
            self._say(f"{place} is now {_need(new)}", breaking=new.required)
        elif not self._sent and new.omitted and not old.omitted:
            needed = ", and callers need it" if old.required else ""
            self._say(f"{place} may be left out now{needed}", breaking=old.required)
        elif old.required != new.required:
            self._say(f"{place} is now {_need(new)}", breaking=False)
        elif old.omitted != new.omitted:
            self._say(f"{place} {'may be left out' if new.omitted else 'is always written'} now", breaking=False)
        if text := default_change(old, new):
            written, read = (old, new) if self._sent else (new, old)
            # A field that is left out means the default of the writer, if it has one.
            lost = written.omitted and not isinstance(written.default, UnsetType) and written.default != read.default
            self._say(f"{place}: {text}{', and writers leave it out' if lost else ''}", lost)

    def _reads(self, old: Type, new: Type) -> bool:
        """Return whether values of the one type can be read as the other. Neither is a union."""
        written, read = (old, new) if self._sent else (new, old)
        if read.kind == "any" or "stream" in {written.kind, read.kind}:
            return read.kind == "any" and written.kind != "stream"
        if written.kind == read.kind == "ref":
            return False  # as an array, with another tag, or as an unknown one of several structures
        if written.kind == read.kind and written.parts:
            return not any(each.breaking for each in self._trial(old, new))
        kinds = {written.kind}
        if written.kind == "enum":
            kinds = {"str" if isinstance(value, str) else "int" for value in written.values}
        if kinds == {read.kind} or all((kind, read.kind) in READABLE for kind in kinds):
            return within(written.limits, read.limits)
        if read.kind in {"list", "set"} and written.kind in {"list", "set", "tuple"}:
            (part,) = read.parts
            pairs = [(each, part) if self._sent else (part, each) for each in written.parts]
            trials = [each for pair in pairs for each in self._trial(*pair)]
            return within(written.limits, read.limits) and not any(each.breaking for each in trials)
        return False

    def _trial(self, old: Type, new: Type) -> list[Difference]:
        """Return the changes between two types, without adding them."""
        trial = TypeComparison(self._old, self._new, sent=self._sent)
        trial._seen = set(self._seen)
        trial._equal_pairs = self._equal_pairs
        trial.types(old, new, "")
        return trial.found


_STEPS: Mapping[str, Sequence[str]] = {"list": ("[]",), "set": ("[]",), "stream": ("[]",), "map": ("{key}", "{}")}


def _one_of_a_kind(one: Type, other: Type) -> bool:
    del one, other
    return True


def _need(field: Field) -> str:
    return "required" if field.required else "optional"


def _tag(structure: Structure) -> str:
    return f"{structure.tag[0]}={structure.tag[1]!r}" if structure.tag else "none"


def _other(old: Type, new: Type, taken: bool) -> str:  # noqa: FBT001
    return f"{new}, was {old}" if taken else str(old)
