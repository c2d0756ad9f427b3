import { expect, test } from "vitest";
import { pieces, runs, splitAt } from "./bytes";

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

test("a text is cut into what is marked and what is not, and no text is lost", () => {
  const marks = (text: string, spans: { start: number; end: number }[]) =>
    runs(text, spans).map((run) => (run.marked ? `[${run.text}]` : run.text));
  expect(marks("sweet coffee", [{ start: 6, end: 12 }])).toEqual(["sweet ", "[coffee]"]);
  expect(marks("水壶很好", [{ start: 6, end: 12 }, { start: 0, end: 3 }])).toEqual(["[水]", "壶", "[很好]"]);
  expect(marks("abcdef", [{ start: 1, end: 4 }, { start: 2, end: 3 }, { start: 3, end: 90 }])).toEqual(["a", "[bcd]", "[ef]"]);
  expect(marks("plain <b>", [])).toEqual(["plain <b>"]);
  expect(marks("", [{ start: 0, end: 3 }])).toEqual([]);
});
