/** Drawings as files: SVG as it is, or PNG, with a font that comes with lockstep, since a server may have none. */
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, extname, join, resolve } from "node:path";
import { LockstepError, messageOf } from "../../core/errors.ts";

const fontName = "DejaVu Sans";
/** Pixels of the picture for each one of the drawing. */
const scale = 2;
/** Pixels in an inch, as SVG has them. */
const svgDensity = 72;

/** Writes a drawing to a file that is there only once it is whole. "usage": the file cannot be written. */
export async function writePicture(path: string, svg: string): Promise<void> {
  const content = extname(path).toLowerCase() === ".png" ? await toPng(svg) : svg;
  const staged = `${path}.${process.pid}.partial`;
  try {
    await writeFile(staged, content);
    await rename(staged, path);
  } catch (cause) {
    await rm(staged, { force: true });
    throw new LockstepError("usage", `The picture cannot be written to ${resolve(path)}: ${messageOf(cause)}.`, {
      cause,
      hint: "Name a file in a folder that is there.",
    });
  }
}

async function toPng(svg: string): Promise<Buffer> {
  const settings = await mkdtemp(join(tmpdir(), "lockstep-fonts-"));
  const before = process.env.FONTCONFIG_FILE;
  try {
    const fonts = dirname(createRequire(import.meta.url).resolve("dejavu-fonts-ttf/ttf/DejaVuSans.ttf"));
    process.env.FONTCONFIG_FILE = join(settings, "fonts.conf");
    await writeFile(process.env.FONTCONFIG_FILE, fontSettings(fonts, settings));
    // It reads the settings when it is loaded.
    const { default: sharp } = await import("sharp");
    const drawing = svg.replace(/ font-family="[^"]*"/, ` font-family="${fontName}"`);
    return await sharp(Buffer.from(drawing), { density: scale * svgDensity })
      .png()
      .toBuffer();
  } finally {
    if (before === undefined) delete process.env.FONTCONFIG_FILE;
    else process.env.FONTCONFIG_FILE = before;
    await rm(settings, { recursive: true, force: true });
  }
}

function fontSettings(fonts: string, cache: string): string {
  return `<?xml version="1.0"?><fontconfig><dir>${fonts}</dir><cachedir>${cache}</cachedir></fontconfig>\n`;
}
