// The page in a real browser, against a running server whose demo data is indexed.
//   ANSER_URL      the server           ANSER_BROWSER   a Chromium or Chrome
//   ANSER_SCREENSHOT   where to put a picture of the finished page, if wanted

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: process.env.ANSER_BROWSER,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
});
try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 760 } });
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));

  await page.goto(process.env.ANSER_URL);
  await page.getByLabel("Collection").selectOption("shop-faq");

  // The answer arrives in pieces, then with its citations.
  await page.getByLabel("Question").fill("Until when is a gift card valid?");
  await page.getByRole("button", { name: "Ask", exact: true }).click();
  await page.locator(".answer[data-finished=true]").waitFor({ timeout: 120_000 });
  const answer = await page.locator(".answer").innerText();
  assert.match(answer, /4 years/);

  // A citation opens the quoted document at the quoted place.
  await page.locator(".citation").first().click();
  await page.locator("aside.document mark").waitFor();
  assert.match(await page.locator("aside.document mark").innerText(), /4 years/);
  if (process.env.ANSER_SCREENSHOT) await page.screenshot({ path: process.env.ANSER_SCREENSHOT });

  // A question that the texts cannot answer is declined and shows what is nearest.
  await page.getByLabel("Question").fill("Who won the football world cup in 1998?");
  await page.getByRole("button", { name: "Ask", exact: true }).click();
  await page.getByText("Nearest passages").waitFor({ timeout: 120_000 });
  assert.equal(await page.locator(".citation").count(), 0);

  // Searching the reviews.
  await page.getByLabel("Collection").selectOption("shop-reviews");
  await page.getByRole("tab", { name: "Search" }).click();
  await page.getByLabel("Query").fill("coffee pods leak in the machine");
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.locator(".hit").first().waitFor({ timeout: 60_000 });
  assert.match(await page.locator(".hit").first().innerText(), /coffee pods/i);
  assert.match((await page.locator(".hit mark").allInnerTexts()).join(" "), /coffee/i);

  // The next page comes behind the first, and none of its hits is on it.
  const hits = page.locator(".hit header a");
  const shown = await page.locator(".hit").count();
  await page.getByRole("button", { name: "More hits" }).click();
  await page.locator(".hit").nth(shown).waitFor({ timeout: 60_000 });
  assert.ok((await hits.count()) > shown);

  // By words, under a condition, one hit for each product.
  await page.getByText("Options").click();
  await page.getByLabel("Compare").selectOption("keyword");
  await page.getByLabel("Only where").fill("score <= 3");
  await page.getByLabel("One hit for each").fill("product");
  await page.getByLabel("Query").fill("coffee");
  const answered = page.waitForResponse((response) => response.url().endsWith("/search"));
  await page.getByRole("button", { name: "Search", exact: true }).click();
  const wanted = (await (await answered).json()).hits.length;
  await page.waitForFunction((count) => document.querySelectorAll(".hit").length === count, wanted);
  assert.match(await page.locator(".hit header small").first().innerText(), /BM25/);
  const products = (await page.locator(".hit").allInnerTexts()).map((text) => /product: ([^·\n]*)/.exec(text)?.[1]?.trim());
  assert.ok(products.length > 0 && new Set(products).size === products.length, `each product once: ${products}`);

  // A condition that cannot be read is told.
  await page.getByLabel("Only where").fill("score >=");
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.getByRole("alert").waitFor();
  assert.match(await page.getByRole("alert").innerText(), /score >=|condition|value/);
  const refused = complaints.findIndex((complaint) => /400/.test(complaint));
  if (refused >= 0) complaints.splice(refused, 1);

  assert.deepEqual(complaints, [], "the page must be free of errors");
  console.log("ok");
} finally {
  await browser.close();
}
