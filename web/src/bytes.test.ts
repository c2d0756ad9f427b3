import { expect, test } from "vitest";
import { pieces, splitAt } from "./bytes";

test("a byte span is cut out of text with wide characters", () => {
  expect(splitAt("水壶很好 👍 ok", { start: 6, end: 12 })).toEqual(["水壶", "很好", " 👍 ok"]);
});

test("marks stand behind the part they belong to, and no text is lost", () => {
  const spans = [
    { start: 0, end: 9 },
    { start: 0, end: 9 },
    { start: 10, end: 16 },
  ];
  const cut = pieces("Déjà vu. Again! Rest", spans, (span) => span);
  expect(cut.map((piece) => piece.marks.length)).toEqual([2, 1, 0]);
  expect(cut.map((piece) => piece.text).join("")).toBe("Déjà vu. Again! Rest");
});
