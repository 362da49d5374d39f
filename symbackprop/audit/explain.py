"""The simplest explanation: of everything that gives the numbers, what is least far-fetched and explains most weights at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from symbackprop.audit.case import Candidate, Case
from symbackprop.audit.match import Factors, Relation, Target, show_number, times

TOGETHER, MOST = 0.4, 3  # what an explanation gains with each further weight that it explains, up to so many
NEAR = 0.15  # explanations whose costs differ by less are told both


@dataclass(frozen=True)
class Explanation:
    """`key` is the same for all weights that one mistake explains."""

    cost: float
    diagnosis: str
    text: str
    key: str
    factor: float | None = None


def explanations(target: Target, candidates: Iterable[Candidate], factors: Factors, case: Case) -> list[Explanation]:
    """Everything that explains one weight's numbers."""
    found = []
    for candidate in candidates:
        values = candidate.values.get(target.name)
        if values is None:
            continue
        for relation in target.relations(values, factors):
            # Of so many candidates one will be a single number's nice fraction by chance.
            if (relation.codes if not candidate.code else relation.certain):
                found.append(_told(target, candidate, relation, case))
    return found


def _told(target: Target, candidate: Candidate, relation: Relation, case: Case) -> Explanation:
    codes = list(dict.fromkeys([*([candidate.code] if candidate.code else []), *relation.codes]))
    text = f"{candidate.text} Besides, {relation.text}." if candidate.code and relation.codes else candidate.text
    if not candidate.code:
        text = _plainly(target.name, relation, case)
    factor = relation.ratio if set(relation.codes) & {"factor", "sign"} else None
    return Explanation(candidate.cost + relation.cost, " and ".join(codes), text, f"{candidate.text}|{relation.codes}|{relation.ratio:.6g}", factor)


def _plainly(name: str, relation: Relation, case: Case) -> str:
    """The truth with another sign, a factor, or transposed, and what to do."""
    loss = case.system.loss.name
    where = case.backward.equation(case.backward.system.loss)
    says = []
    if "transposed" in relation.codes:
        says.append("It is the transpose of the true gradient: exchange its indices, so that they run as those of the weight do.")
    if "sign" in relation.codes:
        says.append(f"The sign is flipped: check which way round the difference in {where} stands, and that the chain rule's minus signs are all there.")
    if "factor" in relation.codes:
        size = abs(relation.ratio)
        meaning = case.factors.meaning(size, 1e-6)
        repair = f"divide by {show_number(size, 1e-6)}" if size > 1 else f"multiply by {show_number(1 / size, 1e-6)}"
        says.append(f"It is {times(size, 1e-6)} the true gradient{f' ({meaning})' if meaning else ''}: {repair}. The loss is {where}.")
    return f"d{loss}/d{name} is wrong by a known pattern. " * (len(says) > 1) + " ".join(says)


def choose(found: Mapping[str, list[Explanation]]) -> dict[str, Explanation]:
    """For each weight the simplest explanation; one that holds for several weights is simpler than one for each."""
    count: dict[str, int] = {}
    for options in found.values():
        for key in {e.key for e in options}:
            count[key] = count.get(key, 0) + 1

    def cost(e: Explanation) -> float:
        return e.cost - TOGETHER * min(count[e.key] - 1, MOST)

    chosen = {}
    for name, options in found.items():
        if options:
            ordered = sorted(options, key=cost)
            best = ordered[0]
            rivals = [e for e in ordered[1:] if cost(e) <= cost(best) + NEAR and e.text != best.text and e.diagnosis != best.diagnosis]
            others = list(dict.fromkeys(e.text for e in rivals))[:2]
            text = " ".join([best.text, *(f"The numbers would be the same with this: {t}" for t in others)])
            chosen[name] = Explanation(best.cost, best.diagnosis, text, best.key, best.factor)
    return chosen


__all__ = ["Explanation", "choose", "explanations"]
