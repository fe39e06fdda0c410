/* Both panels of the comparison. Plotly draws them (panel.js, which comes before this file in one
   module); this file links them, and speaks with Python.

   Plotly is asked to draw again only when the scene, the theme or the view changes. Hover and pins
   are a light of their own: one <g> inside Plotly's plot area (so it moves and clips with it) gets a
   copy of the lit edges and nodes while the rest fades by one CSS class. Nothing is remounted, so a
   click cannot move the view. */

const views = new WeakMap(); // element -> its view
const remembered = new Map(); // component key -> pins, so that coming back to the page finds them

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

class View {
  constructor(parent) {
    this.root = parent.querySelector(".hap");
    this.status = this.root.querySelector(".hap-status");
    this.search = this.root.querySelector("input");
    this.panels = [...this.root.querySelectorAll(".hap-panel")].map((element) => new Panel(this, element));
    this.mode = "pair";
    this.pinned = [];
    this.hovered = null;
    this.found = [];
    this.abort = new AbortController();
    this.listen();
  }

  listen() {
    const on = (target, type, action) => target.addEventListener(type, action, { signal: this.abort.signal });
    on(this.root, "click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.mode) this.show(button.dataset.mode);
      if (button.dataset.do === "clear") this.pin([]);
      if (button.dataset.do === "reset") this.reset();
      if (button.dataset.do === "full") fullScreen(button.closest(".hap-panel"));
      if (button.dataset.unpin) this.toggle(button.dataset.unpin);
    });
    on(document, "keydown", (event) => this.key(event));
    on(this.search, "input", () => this.find());
    on(this.search, "keydown", (event) => {
      if (event.key === "Enter") this.pinFound();
    });
    this.resize = new ResizeObserver(() => this.panels.forEach((panel) => panel.resize()));
    this.panels.forEach((panel) => this.resize.observe(panel.plot));
  }

  async update({ data, setStateValue }) {
    this.send = (pinned) => setStateValue("pinned", pinned);
    this.key_ = data.key;
    this.root.style.setProperty("--hap-height", `${data.height}px`);
    try {
      this.plotly = await loadPlotly(data.plotly);
    } catch (error) {
      this.status.textContent = error.message;
      return;
    }
    if (!this.root.isConnected) return; // the page was left while the library loaded
    const theme = isDark(this.root) ? "dark" : "light";
    if (data.scene !== this.text || theme !== this.theme) {
      const before = this.frame();
      this.text = data.scene;
      this.theme = theme;
      this.read();
      await this.draw(this.frame() === before); // the same graph keeps its view
    }
    this.obey(data.command);
  }

  /** Parse the scene in the colours of the theme. */
  read() {
    const plain = JSON.parse(this.text);
    this.scene =
      this.theme === "light" ? plain : JSON.parse(this.text.replace(/#[0-9a-f]{6}/g, (c) => plain.dark[c] ?? c));
    this.colours = this.scene.light;
    this.nodes = new Map(this.scene.nodes.map((node) => [node.id, node]));
    this.pinned = this.pinned.filter((id) => this.nodes.has(id));
    this.hovered = null;
  }

  /** Pins that Python asks for; a command is obeyed once, also after a remount. */
  obey({ serial, pinned }) {
    const last = remembered.get(this.key_);
    if (last?.serial === serial) {
      this.pinned = last.pinned.filter((id) => this.nodes.has(id));
    } else {
      this.pinned = pinned;
      remembered.set(this.key_, { serial, pinned });
      if (serial) this.send(pinned);
    }
    this.light();
  }

  /** The whole picture's ranges: equal for two scenes of one layout. */
  frame() {
    const layout = this.scene?.figures.left.layout;
    return layout && JSON.stringify([layout.xaxis.range, layout.yaxis.range]);
  }

  async draw(keepView) {
    const figures = this.mode === "pair" ? ["left", "right"] : ["overlay"];
    await Promise.all(figures.map((name, i) => this.panels[i].draw(this.scene.figures[name], keepView)));
    this.light();
    this.describe();
  }

  show(mode) {
    this.mode = mode;
    this.root.dataset.view = mode;
    for (const button of this.root.querySelectorAll("[data-mode]"))
      button.setAttribute("aria-pressed", button.dataset.mode === mode);
    this.draw(true);
  }

  reset() {
    const { xaxis, yaxis } = this.scene.figures.left.layout;
    this.visible().forEach((panel) => panel.move([...xaxis.range, ...yaxis.range]));
  }

  visible() {
    const panels = this.mode === "pair" ? this.panels : this.panels.slice(0, 1);
    return panels.filter((panel) => panel.touching);
  }

  /** A panel moved, or is being dragged: the other goes along. */
  follow(source, dragging) {
    const range = source.range();
    for (const panel of this.visible())
      if (panel !== source) dragging ? panel.slide(range) : panel.move(range);
  }

  hover(id) {
    if (id === this.hovered) return;
    this.hovered = id;
    this.light();
  }

  toggle(id) {
    this.pin(this.pinned.includes(id) ? this.pinned.filter((other) => other !== id) : [...this.pinned, id]);
  }

  pin(ids) {
    this.pinned = ids.slice(-this.scene.maxPins);
    remembered.set(this.key_, { serial: remembered.get(this.key_).serial, pinned: this.pinned });
    this.send(this.pinned);
    this.light();
    this.describe();
  }

  /** The nodes to light: a hovered one first, then what a search finds, then the pins. */
  shown() {
    if (this.hovered) return [this.hovered];
    return this.found.length ? this.found : this.pinned;
  }

  light() {
    for (const panel of this.visible()) panel.light(this.shown());
    const chips = this.pinned.map((id) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.dataset.unpin = id;
      chip.textContent = `${id} ×`;
      chip.setAttribute("aria-label", `Unpin ${this.nodes.get(id).name}`);
      return chip;
    });
    this.root.querySelector(".hap-pins").replaceChildren(...chips);
  }

  describe() {
    const names = this.pinned.map((id) => this.nodes.get(id).name);
    this.status.textContent = names.length
      ? `Pinned: ${names.join("; ")}. Click again to unpin, Esc to clear.`
      : "Hover to trace a node, click to pin it, scroll to zoom, drag to move. Arrow keys walk, Enter pins, / finds.";
  }

  find() {
    const query = this.search.value.trim().toLowerCase();
    const texts = this.scene.nodes.filter((node) => !node.hidden);
    const exact = texts.filter((node) => ` ${node.search} `.includes(` ${query} `));
    const matches = exact.length ? exact : texts.filter((node) => node.search.includes(query));
    this.found = query ? matches.map((node) => node.id) : [];
    this.light();
    const some = matches.slice(0, 6).map((node) => node.name).join("; ");
    if (!query) this.describe();
    else this.status.textContent = matches.length ? `${matches.length} found: ${some}. Enter pins.` : `No node matches “${query}”.`;
  }

  pinFound() {
    const found = this.found.slice(0, this.scene.maxPins);
    if (!found.length) return;
    this.found = [];
    this.search.value = "";
    this.pin([...this.pinned.filter((id) => !found.includes(id)), ...found]);
    this.panels[0].reveal(found[0]);
    if (found.length === 1) this.panels[0].focus(found[0]);
    else this.search.blur();
  }

  key(event) {
    const typing = /^(input|textarea|select)$/i.test(event.target.tagName) || event.target.isContentEditable;
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.search.focus();
    } else if (event.key === "Escape" && (!typing || event.target === this.search) && !document.fullscreenElement) {
      this.search.value = "";
      this.found = [];
      this.hovered = null;
      if (this.pinned.length) this.pin([]);
      else this.light();
    }
  }

  destroy() {
    this.abort.abort();
    this.resize.disconnect();
    this.panels.forEach((panel) => this.plotly?.purge(panel.plot));
  }
}

function isDark(element) {
  const [red, green, blue] = getComputedStyle(element).backgroundColor.match(/[\d.]+/g).map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
}

function fullScreen(element) {
  if (document.fullscreenElement) document.exitFullscreen();
  else element.requestFullscreen();
}
