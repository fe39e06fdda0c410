/* Saves a picture that Python drew: the SVG as it is, or as a PNG that this browser paints from it.
   Nothing is uploaded and nothing is fetched. */

const SCALE = 3; // 640 points wide become 1,920 pixels: sharp on a slide and on paper

export default function ({ data: [picture], parentElement }) {
  const root = parentElement.querySelector(".hap-picture");
  const say = (text) => (root.querySelector("span").textContent = text);
  for (const button of root.querySelectorAll("button"))
    button.onclick = async () => {
      try {
        const kind = button.dataset.kind;
        const blob = kind === "svg" ? vector(picture.svg) : await pixels(picture);
        download(blob, `${picture.name}.${kind}`);
        say(`Saved ${picture.name}.${kind}`);
      } catch {
        say("This browser could not paint the picture. Save it as SVG.");
      }
    };
}

const vector = (svg) => new Blob([svg], { type: "image/svg+xml" });

async function pixels({ svg, width, height }) {
  const url = URL.createObjectURL(vector(svg));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = width * SCALE;
    canvas.height = height * SCALE;
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((done, failed) =>
      canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("empty"))), "image/png"));
  } finally {
    URL.revokeObjectURL(url);
  }
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
