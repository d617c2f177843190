// Opens the page of a running `rbees-check serve` in headless Chromium, 390 and 1400 pixels wide, light and dark, and uses
// it by keyboard alone: types a prompt, generates, reads the probabilities of a token. Prints one line per check, and
// exits with 1 if one fails. With a folder as second argument, saves pictures there.
//
//     npm ci --prefix scripts/serve_clients
//     node scripts/serve_clients/page.mjs http://127.0.0.1:8080 /tmp

import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const [base = "http://127.0.0.1:8080", pictures] = process.argv.slice(2);
let failed = 0;

function check(name, holds, shown = "") {
  failed += holds ? 0 : 1;
  console.log(`${holds ? "ok  " : "FAIL"}  ${name}  ${shown}`);
}

/** The contrast of text and background, by the formula of WCAG 2. */
function contrast(text, background) {
  const luminance = (color) => {
    const [r, g, b] = color.match(/\d+/g).slice(0, 3).map((byte) => {
      const share = byte / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [light, dark] = [luminance(text), luminance(background)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

const browser = await puppeteer.launch({
  args: puppeteer.defaultArgs({ args: chromium.args, headless: "shell" }),
  executablePath: await chromium.executablePath(),
  headless: "shell",
});

for (const width of [390, 1400]) {
  for (const scheme of ["light", "dark"]) {
    const page = await browser.newPage();
    const elsewhere = [];
    const errors = [];
    page.on("request", (request) => request.url().startsWith(base) || elsewhere.push(request.url()));
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    await page.setViewport({ width, height: 844 });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.goto(base);
    await page.waitForFunction(() => document.getElementById("model").textContent !== "…");
    const name = `${width} ${scheme}`;
    const focus = () => page.evaluate(() => document.activeElement.id || document.activeElement.className);
    check(`${name}: the prompt has the focus`, (await focus()) === "prompt");

    await page.keyboard.down("Control");
    await page.keyboard.press("a");
    await page.keyboard.up("Control");
    await page.keyboard.type("In the beginning");
    const order = [];
    for (let n = 0; n < 8 && (await focus()) !== "go"; n += 1) {
      await page.keyboard.press("Tab");
      order.push(await focus());
    }
    check(`${name}: Tab reaches every control`, order.join(" ") === "endpoint tokens temperature seed key go", order.join(" "));
    await page.keyboard.press("Enter");
    const done = () => /^\d+ tokens; /.test(document.getElementById("status").textContent);
    await page.waitForFunction(done, { timeout: 60000 });
    const text = await page.$eval("#output", (output) => output.textContent);
    check(`${name}: tokens appear`, text.length > 20, JSON.stringify(text.slice(0, 40)));

    await page.keyboard.press("Tab");
    for (let n = 0; n < 3; n += 1) await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Enter");
    const rows = await page.$$eval("#alternatives tbody tr", (rows) => rows.map((row) => row.textContent));
    check(`${name}: a token shows its alternatives`, rows.length === 5, rows.slice(0, 2).join("  "));
    const chosen = await page.$eval('#output [aria-pressed="true"]', (button) => [...button.parentNode.children].indexOf(button));
    check(`${name}: arrow keys move between tokens`, chosen === 3, chosen);

    const wide = await page.evaluate(() => [document.scrollingElement.scrollWidth, window.innerWidth]);
    check(`${name}: nothing is wider than the window`, wide[0] <= wide[1], wide.join(" of "));
    const colors = await page.evaluate(() => {
      const of = (selector, property) => getComputedStyle(document.querySelector(selector))[property];
      const paper = of("body", "backgroundColor");
      return [[of("body", "color"), paper], [of(".soft", "color"), paper], [of("#go", "color"), of("#go", "backgroundColor")]];
    });
    const least = Math.min(...colors.map(([text, background]) => contrast(text, background)));
    check(`${name}: contrast of at least 4.5`, least >= 4.5, least.toFixed(1));
    check(`${name}: nothing from elsewhere, no errors`, elsewhere.length + errors.length === 0, [...elsewhere, ...errors].join(" "));
    if (pictures) await page.screenshot({ path: `${pictures}/serve-${width}-${scheme}.png` });
    await page.close();
  }
}
await browser.close();
console.log(`${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
