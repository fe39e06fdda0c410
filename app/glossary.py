"""Every term the pages use, defined once (no Streamlit here).

`define` gives the text for a widget's help; `rich` turns a short text with marked terms into HTML in
which each term explains itself under the pointer or the keyboard's focus. Its marks: ``[[term]]`` or
``[[term|words shown]]``, ``**bold**``, ``*italic*``, ```code```, blank lines between paragraphs,
``- `` for lists. Everything else is text and stays text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from hap_engine.errors import UnknownNameError

TERMS: Mapping[str, str] = {
    "residual stream": (
        "The running sum that passes through a transformer at each token: it starts as the "
        "token's embedding, every head and MLP reads it and adds its output to it, and the logits are read off "
        "at the end."
    ),
    "head": (
        "An attention head: it looks from each token back at earlier ones and copies something from "
        "there. a5.h1 is head 1 of layer 5, both counted from 0."
    ),
    "MLP": "The feed-forward part of a layer. It works on each token alone. m5 is the MLP of layer 5.",
    "norm writer": (
        "In some models (Gemma 2 and 3, OLMo 2) the sum of a layer's heads is normalised before it is added to the "
        "residual stream, so what one head adds depends on all of them. Here each head writes as if the size of that "
        "sum were that of the corrupted run, and the norm writer carries what its change adds. n5 is that of layer 5."
    ),
    "logits": "The model's raw scores for every possible next token. Softmax turns them into probabilities.",
    "node": (
        "A part of the model that the picture draws as one box: the input embedding, a head, an MLP, or the logits."
    ),
    "edge": (
        "One part's output as it is read by one later part. Because the residual stream is a sum, what a "
        "part reads splits exactly into one contribution per edge."
    ),
    "query, key, value": (
        "The three inputs of a head. Query and key decide where it looks, the value what it "
        "takes from there. Edges end at one of the three: a5.h1<q>, a5.h1<k> or a5.h1<v>."
    ),
    "circuit": "A small set of edges that still does the task when all other edges carry the corrupted run.",
    "sparsity": "Share of the model's edges that a circuit leaves out. 98 % sparse keeps 2 %.",
    "clean prompt": "The prompt of the task as it is, on which the model knows the answer.",
    "corrupted prompt": (
        "The same prompt with the words exchanged on which the answer depends. It has the same "
        "number of tokens, so that the two runs can be mixed edge by edge."
    ),
    "patching": "Replacing what one edge carries by what it carried in another run. Here: in the corrupted run.",
    "ablation": (
        "Switching a part off to see what depends on it. Here it is replaced by its value in the "
        "corrupted run, which keeps everything else about the prompt in place."
    ),
    "logit difference": (
        "Logit of the right answer minus logit of the wrong one. Above 0 the model prefers the right one."
    ),
    "KL": (
        "KL divergence from the full model to the circuit at the answer, in nats: how different their "
        "predictions over all next tokens are. 0 means equal."
    ),
    "faithfulness": (
        "Share of the full model's logit difference that the circuit recovers: 0 = everything "
        "corrupted, 1 = full model. It can exceed 1, and says nothing about other tokens; read it with KL."
    ),
    "exact match": "How often the circuit's first choice of all tokens is the full model's.",
    "EAP": (
        "Edge attribution patching: estimates for all edges at once, from one backward pass, how much the "
        "logit difference would change if the edge were patched. The estimate is the first-order (straight-line) "
        "one."
    ),
    "EAP-IG": (
        "EAP with integrated gradients: averages the gradient over several points between the corrupted "
        "and the clean input, so that it bends less when the model saturates. It costs as many passes as points."
    ),
    "EP": (
        "Edge pruning: learns a gate for every edge by gradient descent, so that the circuit predicts what "
        "the full model predicts while only so many gates stay open."
    ),
    "HAP": "Hybrid attribution and pruning: EAP throws away the clearly useless edges, EP learns on the rest.",
    "gate": (
        "A number between 0 and 1 on an edge: 1 carries the circuit's own value, 0 that of the corrupted "
        "run. Edge pruning learns its log alpha; larger is more surely open."
    ),
    "role": (
        "What a head was measured to do on this task, from where it attends and what changes when it is "
        "patched. A reading with stated thresholds, not a proof."
    ),
    "S-inhibition": (
        "A role in the IOI task: these heads look at the repeated name (S2) and tell the name "
        "movers to look away from it."
    ),
    "name mover": "A role in the IOI task: these heads look at the name to be given (IO) and write it out.",
    "induction": "A role: looks at the token that followed the last time the present token occurred.",
    "random control": "Random circuits of the same size, all of whose edges are connected: what size alone buys.",
    "held-out prompts": "Prompts whose pairs of names no method saw. All numbers are measured on these.",
    "live edge": "An edge on a path from the input to the logits. Others cannot change anything and are not counted.",
    "first-order": (
        "Following the slope at one point in a straight line. Exact only if the model were linear between the two runs."
    ),
}
ALIASES = {
    "edge attribution patching": "EAP",
    "edge pruning": "EP",
    "KL divergence": "KL",
    "heads": "head",
    "edges": "edge",
    "circuits": "circuit",
    "gates": "gate",
    "roles": "role",
    "nodes": "node",
    "MLPs": "MLP",
    "norm writers": "norm writer",
    "patched": "patching",
    "ablated": "ablation",
    "query": "query, key, value",
    "value": "query, key, value",
}
MARK = re.compile(
    r"\[\[(?P<term>[^\]|]+)(?:\|(?P<shown>[^\]]+))?\]\]|\*\*(?P<bold>[^*]+)\*\*|\*(?P<italic>[^*]+)\*|`(?P<code>[^`]+)`"
)
CSS = """<style>
.hap-text p, .hap-text li { position: relative; max-width: 70ch; line-height: 1.6; margin: 0 0 .7em; }
.hap-text ul { margin: 0 0 .7em; padding-left: 1.2em; }
.hap-text code { font-size: .9em; padding: 0 .2em; border-radius: 4px; background: color-mix(in srgb, currentColor 9%,
transparent); }
.hap-text dfn { font-style: normal; border-bottom: 2px dotted; cursor: help; }
.hap-text dfn > span { display: none; }
.hap-text dfn:hover > span, .hap-text dfn:focus > span {
  display: block; position: absolute; left: 0; right: 0; z-index: 20; margin-top: .3em; padding: .6em .8em;
  font-size: .92em; line-height: 1.45; border-radius: 8px; border: 1px solid; background: Canvas; color: CanvasText; }
</style>"""


def term(name: str) -> str:
    """The name under which a term is defined. Raises UnknownNameError."""
    for known in (name, ALIASES.get(name, ""), name[:1].lower() + name[1:]):
        if known in TERMS:
            return known
    raise UnknownNameError("term", name, TERMS)


def define(name: str) -> str:
    """What a term means, in a sentence or two. Raises UnknownNameError."""
    return TERMS[term(name)]


def rich(text: str) -> str:
    """Marked text as HTML; see the module's docstring for the marks. Raises UnknownNameError."""
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text.strip())]
    return f'{CSS}<div class="hap-text">{"".join(map(_block, blocks))}</div>'


def _block(block: str) -> str:
    lines = block.splitlines()
    if all(line.lstrip().startswith("- ") for line in lines):
        items = "".join(f"<li>{_inline(line.lstrip()[2:])}</li>" for line in lines)
        return f"<ul>{items}</ul>"
    return f"<p>{_inline(' '.join(line.strip() for line in lines))}</p>"


def _inline(text: str) -> str:
    out, last = [], 0
    for match in MARK.finditer(text):
        out.append(escape(text[last : match.start()]))
        out.append(_marked(match))
        last = match.end()
    return "".join([*out, escape(text[last:])])


def _marked(match: re.Match[str]) -> str:
    for mark, tag in (("bold", "strong"), ("italic", "em"), ("code", "code")):
        if match[mark]:
            return f"<{tag}>{escape(match[mark])}</{tag}>"
    name = match["term"]
    shown = match["shown"] or name
    meaning = escape(define(name))
    return f'<dfn tabindex="0">{escape(shown)}<span role="tooltip">{meaning}</span></dfn>'


HELP = {
    "kl": define("KL"),
    "logit_diff": define("logit difference"),
    "faithfulness": define("faithfulness"),
    "accuracy": "How often the right answer beats the wrong one.",
    "top1": "How often the right answer is the first choice of all words.",
    "exact_match": define("exact match"),
}
