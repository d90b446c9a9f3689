// Bundle the panel into one file, its style beside it, and the notices of what is inside.
import { build } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";

const OUT = "../gptoss_lab/ui/static";
await build({
  entryPoints: { panel: "src/panel.js" },
  bundle: true, format: "esm", minify: true, target: "es2021", charset: "utf8", legalComments: "none", outdir: OUT,
});
await build({ entryPoints: { panel: "src/panel.css" }, minify: true, outdir: OUT });

const notices = ["marked", "dompurify", "highlight.js"].map((name) => {
  const { version, license } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  const file = ["LICENSE", "LICENSE.md"].find((one) => { try { readFileSync(`node_modules/${name}/${one}`); return true; } catch { return false; } });
  return `${name} ${version} (${license})\n\n${readFileSync(`node_modules/${name}/${file}`, "utf8").trim()}\n`;
});
writeFileSync(`${OUT}/THIRD_PARTY_NOTICES.txt`, notices.join(`\n${"-".repeat(80)}\n\n`));
