// Copies the pinned files of the page's libraries into api/static/vendor/, with their licences and SHA256SUMS.
//
//   node deploy/vendor/vendor.mjs            fetch, verify, copy
//   node deploy/vendor/vendor.mjs --keep DIR also unpack every package into DIR (basemap.py reads world-atlas there)
//
// Run it to move to another version, never to run the page: what it writes is committed. Packages come from whichever
// registry npm is set to; a package whose bytes are not those of `integrity` is refused, whoever served it.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = resolve(here, "../../api/static/vendor");
const { packages } = JSON.parse(readFileSync(join(here, "vendor.json"), "utf8"));
const keep = process.argv[2] === "--keep" ? resolve(process.argv[3]) : null;

const room = mkdtempSync(join(tmpdir(), "vendor-"));
try {
  rmSync(target, { recursive: true, force: true });
  for (const wanted of packages) {
    const spec = `${wanted.name}@${wanted.version}`;
    const folder = join(keep ?? room, wanted.name.replace("/", "+"));
    const packed = join(room, tarballOf(spec));
    const found = "sha512-" + createHash("sha512").update(readFileSync(packed)).digest("base64");
    if (found !== wanted.integrity) throw new Error(`${spec}: the package is not the one that was pinned (integrity)`);
    mkdirSync(folder, { recursive: true });
    execFileSync("tar", ["xzf", packed, "-C", folder, "--strip-components=1"]);
    for (const [from, to] of Object.entries(wanted.files)) {
      mkdirSync(dirname(join(target, to)), { recursive: true });
      cpSync(join(folder, from), join(target, to));
    }
    console.log(`${spec}: ${Object.keys(wanted.files).length} files`);
  }
  const sums = filesUnder(target).sort().map((path) => `${sha256(path)}  ${relative(target, path)}\n`);
  writeFileSync(join(target, "SHA256SUMS"), sums.join(""));
} finally {
  rmSync(room, { recursive: true, force: true });
}

function tarballOf(spec) {
  return execFileSync("npm", ["pack", "--silent", "--pack-destination", room, spec], { encoding: "utf8" }).trim();
}

function filesUnder(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function sha256(path) {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}
