/* At another step of the lesson: to its beginning, where the focus goes too. */

export default function ({ data: [step] }) {
  const before = window.hapStep;
  window.hapStep = step;
  if (before === undefined || before === step) return;
  document.querySelector("[data-testid=stMain]")?.scrollTo(0, 0);
  const title = document.querySelector(".st-key-lesson-step :is(h2, h3)");
  title?.setAttribute("tabindex", "-1");
  title?.focus({ preventScroll: true });
}
