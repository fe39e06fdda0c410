/* The entry: one view per place on the page, made at the first message and told of every later one.

   The first frame needs no library: the panels draw themselves as soon as the scene arrives and answer
   the pointer; Plotly takes over the nodes, the axes and the zoom when it has loaded. Nothing is ever
   remounted, so a click cannot move the view. */

const views = new WeakMap(); // element -> its view

export default function (component) {
  const { parentElement } = component;
  if (!views.has(parentElement)) views.set(parentElement, new View(parentElement));
  const view = views.get(parentElement);
  view.update(component);
  return () => {
    view.destroy();
    views.delete(parentElement);
  };
}

function loadPlotly(url) {
  window.hapPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      window.hapPlotly = undefined;
      script.remove();
      reject(new Error("The drawing library did not arrive. Reload the page."));
    };
    document.head.append(script);
  });
  return window.hapPlotly;
}

/** The page's HTML holds one panel; the other is its copy. */
function bothPanels(root) {
  const [left, right] = root.querySelectorAll(".hap-panel");
  if (right) return [left, right];
  const copy = left.cloneNode(true);
  copy.dataset.side = "right";
  left.after(copy);
  return [left, copy];
}

/** Whether the page is dark where the element is; null where it is on no page, which has no styles. */
function isDark(element) {
  const colour = getComputedStyle(element).backgroundColor.match(/[\d.]+/g);
  if (!colour) return null;
  const [red, green, blue] = colour.map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
}

function fullScreen(element) {
  if (document.fullscreenElement) document.exitFullscreen();
  else element.requestFullscreen();
}
