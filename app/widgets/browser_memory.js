export default function ({ data: [{ name, write }], setStateValue }) {
  try {
    const before = localStorage.getItem(name);
    if (write !== null && write !== before) localStorage.setItem(name, write);
    if (write === null && before !== null && !window.hapLeaving?.()) setStateValue("saved", before);
  } catch { /* storage is switched off: the lesson works, it is only not remembered */ }
}
