/* The script of the invisible components of marks.py: what is switched off and what the model says to it, told to
   every picture. It holds as long as the page that said it. */

export default function ({ data: [told] }) {
  const tell = (values) => {
    Object.assign(window, values);
    document.dispatchEvent(new Event("hap-marks"));
  };
  tell(told);
  return () => tell(Object.fromEntries(Object.keys(told).map((key) => [key, null])));
}
