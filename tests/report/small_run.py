"""A small finished run, made with the real classes and without any model: what the report has to show."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from boostqa.identity import digest, unit
from boostqa.llm.frames import encode_frame
from boostqa.llm.lines import Line, RawReply
from boostqa.llm.model import Message, Request, Usage
from boostqa.pipeline import PIPELINE, entries, number
from boostqa.record import Labels, Record, Requested, SeedText, Source
from boostqa.run import Run
from boostqa.shard import EntryFolder
from boostqa.taxonomy import load

SCRIPT = "<script>alert('planted')</script>"
LEVELS = ("H1", "H2", "H3", "H4", "H5")
GRADES = ("primary", "middle", "high", "undergraduate", "graduate", "professional")
FIELDS = (
    "Mathematics",
    "Physics",
    "Chemistry",
    "Biology",
    "Computer Science and Technology",
    "Electrical Engineering",
    "Clinical Medicine",
    "Crop Science",
    "Applied Economics",
    "Law",
    "Psychology",
    "History",
    "Philosophy",
    "Musicology",
)
RECIPE = """\
name: {name}
seeds:
  sources:
  - {{name: textbook, path: /home/someone/secret/place/seeds/textbook.md, license: CC-BY-4.0}}
  - {{name: quiz, path: seeds/quiz.jsonl, license: CC0-1.0}}
models:
  small: {{base_url: embedded}}
  other: {{base_url: "http://127.0.0.1:9/v1", model: other-7b, terms: "Output may be used for training."}}
roles: {{annotator: small, target: small, teacher: {teacher}, refiner: small, solvers: [other], judge: other}}
plan: {{items: 40, rounds: 2}}
dataset: {{title: null, validation_share: 0.1}}
"""
PASSED = ("supported", "relabelled")


class SmallRun:
    """Builds a run folder entry by entry; `records` bounds its size."""

    def __init__(
        self, root: Path, *, seeds: int = 120, teacher: str = "small", name: str = "small run"
    ) -> None:
        self.run = Run(root)
        self.rng = random.Random(7)
        self.run.write_recipe(RECIPE.format(teacher=teacher, name=name))
        self.run.begin_session(["boostqa", "run", "recipe.yaml"])
        self.count = seeds

    def build(self, *, rounds: int = 2, release: bool = True) -> Run:
        """The whole run; with `release` off it is one that was stopped before the data set."""
        self.head()
        accepted: list[Record] = []
        for i in range(rounds):
            accepted += self.round(i + 1, accepted)
        if release:
            self.release(accepted)
        self.run.end_session(0)
        return self.run

    # ---- the three parts

    def head(self) -> None:
        self.run.add_segment({"name": "head", "sources": ["textbook", "quiz"]})
        seeds = [self.seed(i) for i in range(self.count)]
        broken = [r.drop("seeds", "malformed", f"quiz.jsonl:{i}: not JSON") for i, r in enumerate(seeds[:3])]
        last = self.seed(self.count)
        kept = self.commit("head", "seeds", [], [*broken, *seeds[3:], last])
        kept = self.drop_some("head", "dedup", kept, {"exact_duplicate": 0.03, "near_duplicate": 0.04})
        odd = {
            "builtin": {"no_answer": 1, "left_out": 0, "places": ["builtin.jsonl:4: answer_not_in_choices"]}
        }
        index = {"benchmarks": {"builtin": 20}, "canaries": [{}], "odd": odd}
        self.state("head", "decontaminate", "index", index)
        first = kept[0].score(contamination=0.93, contamination_answer=0.2)
        second = last.score(contamination=0.1, contamination_answer=0.75)
        first = first.drop("decontaminate", "contaminated", "builtin builtin/001 score 0.93")
        second = second.drop("decontaminate", "contaminated", "builtin builtin/002 with its answer 0.75")
        kept = self.commit("head", "decontaminate", kept, [first, *kept[1:-1], second])
        agree = {
            h: {"n": 60, "correct": c, "share": c / 60, "low": 0, "high": 1}
            for h, c in (("field", 51), ("level", 33))
        }
        agree["level"]["within_one"] = 55
        self.state("head", "annotate", "fit", {"agreement": agree, "classifier": "fitted"})
        kept = self.commit("head", "annotate", kept, [self.labelled(r) for r in kept])
        self.call("head", "annotate", "label", "small", len(kept), 420, 24)
        held = [
            r.drop("probe", "held_out", "cluster") if r.question and unit("h", r.id) < 0.3 else r
            for r in kept
        ]
        self.probe([r for r in held if r.dropped])
        self.seeds = self.commit("head", "probe", kept, held)
        self.call("head", "probe", "ask", "small", sum(r.dropped is not None for r in held), 300, 12)

    def round(self, turn: int, before: list[Record]) -> list[Record]:
        segment = f"round-{turn}"
        self.run.add_segment({"name": segment})
        tasks = [self.task(turn, i) for i in range(self.count if turn == 1 else self.count // 2)]
        self.plan(segment, turn, tasks, before)
        tasks = self.commit(segment, "plan", [], tasks)
        lost = [t.drop("synthesize", "truncated", "the reply was cut off") for t in tasks[:4]]
        kept = self.commit(segment, "synthesize", tasks, [*lost, *(self.item(t, turn) for t in tasks[4:])])
        self.call(segment, "synthesize", "write", "small", len(tasks), 700, 160)
        verdicts = ("unchanged", "improved", "improved", "contradicted")
        kept = self.commit(
            segment,
            "refine",
            kept,
            [
                r.edit("refine", v, refine_verdict=v, refiner="smollm2-135m")
                for r, v in ((r, self.rng.choice(verdicts)) for r in kept)
            ],
        )
        self.call(segment, "refine", "refine", "small", len(kept), 800, 150)
        kept = self.verify(segment, kept)
        kept = self.drop_some(segment, "dedup", kept, {"near_duplicate": 0.05})
        self.state(
            segment,
            "decontaminate",
            "index",
            {"benchmarks": {"builtin": 20, "heldout": 17}, "canaries": [{}, {}], "odd": {}},
        )
        return self.commit(
            segment, "decontaminate", kept, [r.score(contamination=0.1 * unit("c", r.id)) for r in kept]
        )

    def verify(self, segment: str, records: list[Record]) -> list[Record]:
        reasons = (
            "no_evidence",
            "wrong_answer",
            "broken_structure",
            "seed_copy",
            "contradicted",
            "judge_rejected",
        )
        found = []
        for record in records:
            if self.rng.random() < 0.55:
                reason = self.rng.choice(reasons)
                found.append(
                    record.drop(
                        "verify", reason, f"answer {record.answer!r}; 3 independent solutions differ {SCRIPT}"
                    )
                )
                continue
            wish = record.requested
            assert wish
            assert wish.level
            level = LEVELS[max(0, LEVELS.index(wish.level) - self.rng.choice((0, 0, 1, 2)))]
            labels = msgspec.structs.replace(
                self.labels(wish.field or ""), level=level, level_rubric=level, grade=wish.grade
            )
            evidence = self.rng.choice(
                (["seed_answer"], ["symbolic"], ["solver:other"], ["solver:other", "judge:other"])
            )
            record = record.edit("verify", "supported", evidence=evidence, labels=labels)
            found.append(record.score(pass_rate=0.5, judge=4.0))
        self.call(segment, "verify", "verify", "other", len(records), 500, 90, cost=None)
        return self.commit(segment, "verify", records, found)

    def release(self, accepted: list[Record]) -> None:
        quotas = Counter((r.requested.discipline, r.requested.level) for r in accepted[:40] if r.requested)
        chosen = []
        for record in accepted:
            cell = record.labels.discipline, record.labels.level
            quotas[cell] -= 1
            split = "validation" if unit("v", record.id) < 0.1 else "train"
            kept = msgspec.structs.replace(record, split=split)
            chosen.append(
                kept if quotas[cell] >= -2 else record.drop("dataset", "over_quota", "cell has its number")
            )
        self.commit("release", "dataset", accepted, chosen, shard="00000-of-00001")

    # ---- records

    def seed(self, i: int) -> Record:
        a, b = i + 2, 3 * i + 5
        passage = i % 6 == 5
        zh = i % 7 == 3
        question = (
            f"甲有 {a} 个苹果，乙有 {b} 个，一共多少个？"
            if zh
            else f"A box holds {a} pens and a bag holds {b}. How many together?"
        )
        if i == 10:
            question = f"What does {SCRIPT} do in a page? {'Long ' * 20_000}"
        return Record(
            id=digest("seed", i),
            kind="seed",
            question="" if passage else question,
            passage=f"Passage {i}. Water boils at a lower temperature on a mountain." if passage else "",
            answer="" if passage else str(a + b),
            formula="" if passage else "a + b",
            language="zh" if zh else "en",
            source=Source(
                name="textbook" if passage else "quiz", license="CC-BY-4.0" if passage else "CC0-1.0"
            ),
            dup_cluster=digest("seed", i),
        )

    def labels(self, field: str) -> Labels:
        return Labels(
            field=field, discipline=load().parent(field), stem=load().stem(field), labeller="llm:small"
        )

    def labelled(self, record: Record) -> Record:
        level = self.rng.choice(LEVELS[:4])
        labels = msgspec.structs.replace(
            self.labels(self.rng.choice(FIELDS)), level=level, grade=self.rng.choice(GRADES)
        )
        return record.edit("annotate", "labelled", labels=labels)

    def task(self, turn: int, i: int) -> Record:
        seed = self.seeds[i % len(self.seeds)]
        field = seed.labels.field or FIELDS[0]
        wish = Requested(
            discipline=load().parent(field),
            field=field,
            level=self.rng.choice(LEVELS),
            grade=self.rng.choice(GRADES),
            language=seed.language,
            question_type=self.rng.choice(("calculation", "multiple_choice", "short_answer")),
            route=self.rng.choice(("multi_grade", "high_difficulty")),
            strategy="vary",
        )
        text = SeedText(
            id=seed.id,
            question=seed.question,
            answer=seed.answer,
            passage=seed.passage,
            language=seed.language,
            source=seed.source.name if seed.source else None,
            license=seed.source.license if seed.source else None,
        )
        identifier = digest("task", turn, i)
        return Record(
            id=identifier,
            kind="task",
            parents=[seed.id],
            requested=wish,
            seeds=[text],
            language=seed.language,
        )

    def item(self, task: Record, turn: int) -> Record:
        assert task.requested
        a, b = self.rng.randrange(3, 90), self.rng.randrange(3, 90)
        many = task.requested.question_type == "multiple_choice"
        zh = task.language == "zh"
        question = (
            f"书架上有 {a} 本书，又放上 {b} 本，现在有多少本？"
            if zh
            else (
                f"A library shelf in the {task.requested.field} section holds {a} books. A student adds {b} "
                "more books that were "
                f"returned on Monday. How many books does the shelf hold now? Let $n = {a} + {b}$."
            )
        )
        return task.child(
            "synthesize",
            "qa",
            0,
            question=question,
            choices=[str(a + b + d) for d in (-1, 0, 1, 10)] if many else [],
            answer="B" if many else f"{a + b}",
            draft_answer="B" if many else f"{a + b}",
            solution=f"Add the two numbers: {a} + {b} = {a + b}. <b>{SCRIPT}</b>",
            question_type=task.requested.question_type,
            language=task.language,
            requested=task.requested,
            seeds=task.seeds,
            teacher="smollm2-135m",
            round=turn,
        )

    # ---- states

    def probe(self, held: list[Record]) -> None:
        counts = Counter((r.labels.discipline, r.labels.level) for r in held)
        cells = []
        for discipline in sorted({str(d) for d, _ in counts}):
            for i, level in enumerate(LEVELS):
                n = counts[discipline, level]
                right = sum(self.rng.random() < 0.8 - 0.18 * i for _ in range(n))
                shrunk = (right + 3 * (0.8 - 0.18 * i)) / (n + 3)
                cells.append(
                    {
                        "discipline": discipline,
                        "level": level,
                        "n": n,
                        "correct": right,
                        "accuracy": right / n if n else None,
                        "shrunk": shrunk,
                        "low": max(0, shrunk - 0.25),
                        "high": min(1, shrunk + 0.25),
                        "bits_per_byte": None,
                    }
                )
        scored = sum(c["n"] for c in cells)
        overall = {
            "n": scored,
            "accuracy": sum(c["correct"] for c in cells) / scored,
            "shrunk": 0.5,
            "low": 0.4,
            "high": 0.6,
        }
        self.state(
            "head",
            "probe",
            "cells",
            {
                "cells": cells,
                "overall": overall,
                "asked": scored + 1,
                "scored": scored,
                "unscored": {"failed": 1},
                "notes": ["bits per byte are not available: the target scores no given text"],
            },
        )

    def plan(self, segment: str, turn: int, tasks: list[Record], accepted: list[Record]) -> None:
        wishes = Counter((t.requested.discipline, t.requested.level) for t in tasks if t.requested)
        got = Counter((r.labels.discipline, r.labels.level) for r in accepted)
        cells: list[dict[str, Any]] = []
        for i, ((discipline, level), n) in enumerate(sorted(wishes.items(), key=str)):
            quota, up = max(1, n // 3), turn == 2 and i == 4
            missing = max(0, quota - got[discipline, level]) or up
            cells.append(
                {
                    "discipline": discipline,
                    "level": level,
                    "n": 3,
                    "accuracy": 0.4,
                    "deficit": 0.6,
                    "seeds": 3,
                    "quota": quota,
                    "accepted": got[discipline, level],
                    "missing": int(missing),
                    "tasks": n,
                    "given_up": up,
                    "reason": "no_hit: 2 rounds with tasks brought nothing" if up else "",
                }
            )
        given = [
            {k: c[k] for k in ("discipline", "level", "missing", "reason")} for c in cells if c["given_up"]
        ]
        self.state(
            segment,
            "plan",
            "quotas",
            {
                "round": turn,
                "cells": cells,
                "given_up": given,
                "notes": ["a note of the plan"],
                "missing": sum(c["missing"] for c in cells),
                "quota": sum(c["quota"] for c in cells),
                "plan": pa.table({"task": [t.id for t in tasks]}),
            },
        )

    # ---- writing

    def folder(self, segment: str, name: str) -> EntryFolder:
        part = "release" if segment == "release" else "round" if segment.startswith("round") else "head"
        entry = next(e for e in entries(part) if e.name == name)
        assert entry in PIPELINE
        return self.run.folder(segment, number(entry), name)

    def commit(
        self, segment: str, name: str, inputs: list[Record], outputs: list[Record], shard: str = ""
    ) -> list[Record]:
        """Commits two shards (or the named one) and the manifest; returns what was kept."""
        folder, identity = self.folder(segment, name), {"stage": name, "inputs": {}}
        fingerprint = self.run.claim(segment, name, identity)
        kin = {record.id: record.id for record in inputs}
        halves: list[tuple[str, list[Record], list[Record]]] = [(shard, inputs, outputs)]
        if not shard:
            halves = []
            for i, name_of in enumerate(("part-00000", "part-00001")):
                mine = [
                    r
                    for r in outputs
                    if _half(kin.get(r.id) or next((p for p in r.parents if p in kin), r.id)) == i
                ]
                halves.append((name_of, [r for r in inputs if _half(r.id) == i], mine))
        for part, ins, outs in halves:
            folder.commit_records(part, [(r.id, r.kind) for r in ins], outs)
        folder.commit_manifest([part for part, _, _ in halves], identity, fingerprint)
        self.run.note_time(segment, name, 1.5 * len(outputs))
        self.run.save()
        return [record for record in outputs if record.dropped is None]

    def drop_some(
        self, segment: str, name: str, records: list[Record], shares: dict[str, float]
    ) -> list[Record]:
        found = []
        for record in records:
            draw, reason = unit(segment, name, record.id), None
            for reason_of, share in shares.items():
                reason = reason or (reason_of if draw < share else None)
                draw -= share
            found.append(record.drop(name, reason, "partner 0123 similarity 0.91") if reason else record)
        return self.commit(segment, name, records, found)

    def state(self, segment: str, name: str, step: str, state: dict[str, Any]) -> None:
        self.folder(segment, name).commit_state(step, state)

    def call(
        self,
        segment: str,
        entry: str,
        step: str,
        model: str,
        calls: int,
        prompt: int,
        reply: int,
        cost: float | None = 0.0,
    ) -> None:
        """Ledger lines of an entry."""
        lines = [
            Line(
                k=digest(segment, entry, i),
                ts=1.8e9 + i,
                name=model,
                model=model,
                role="teacher",
                r=digest("seed", i),
                request=Request(messages=(Message("user", f"question {i} {SCRIPT}"),)),
                cost=cost,
                reply=RawReply(text="reply", usage=Usage(prompt=prompt, completion=reply)),
            )
            for i in range(calls)
        ]
        path = self.run.root / "ledger" / segment / entry / step / "part-00000.0.jsonl.zst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_frame([msgspec.json.encode(line) for line in lines]))


def _half(identifier: str) -> int:
    return int(identifier[0], 16) % 2
