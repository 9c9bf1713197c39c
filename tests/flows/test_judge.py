import asyncio

from boostqa.flows.judge import judge, worst
from boostqa.llm.model import Outcome
from scripted import Scripted


def verdicts(*replies):
    model = Scripted("j", judge=lambda r: replies[r.sample])
    return asyncio.run(judge(model, "Q?", "A", solution="S", samples=len(replies)))


def said(verdict, score=4):
    return {"reason": "r", "verdict": verdict, "score": score}


def test_one_found_error_outweighs_praise():
    assert worst(verdicts(said("correct", 5), said("wrong", 2), said("correct", 5))).verdict == "wrong"
    assert worst(verdicts(said("wrong"), said("ill_posed"))).verdict == "ill_posed"
    assert worst(verdicts(said("correct", 5), said("correct", 2))).score == 2


def test_failed_calls_say_nothing():
    assert worst(verdicts(Outcome.FAILED, said("fine"))) is None
    assert worst(verdicts(Outcome.TRUNCATED, said("correct"))).verdict == "correct"
