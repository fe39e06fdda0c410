/* The script of the invisible marks component: what is switched off below, told to every picture. */

export default function ({ data: [marks] }) {
  tell(marks);
  return () => tell(null);
}

function tell(marks) {
  window.hapMarks = marks;
  document.dispatchEvent(new Event("hap-marks"));
}
