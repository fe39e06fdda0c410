"""The lesson: seven steps about one run, every number and every answer computed from it (no Streamlit).

A step is a text, what the picture shows with it, and a question to guess before looking. Nothing here
is true of all runs: where EAP missed no head the text says so. The exercise at the end is marked
against the run.
"""

from app.lesson.exercise import Marked, check, exercise, parse_head
from app.lesson.steps import Question, Step, safe, steps, suits

__all__ = ["Marked", "Question", "Step", "check", "exercise", "parse_head", "safe", "steps", "suits"]
