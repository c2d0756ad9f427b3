// The API counts text in UTF-8 bytes, JavaScript in UTF-16 units.

import type { Span } from "./api";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The text before, under and after a byte span. */
export function splitAt(text: string, span: Span): [before: string, inside: string, after: string] {
  const bytes = encoder.encode(text);
  return [
    decoder.decode(bytes.subarray(0, span.start)),
    decoder.decode(bytes.subarray(span.start, span.end)),
    decoder.decode(bytes.subarray(span.end)),
  ];
}

/** A part of a text, with the items whose span ends there. */
export interface Piece<T> {
  text: string;
  marks: T[];
}

/** Cuts a text behind each span's end, so that marks can be set there. */
export function pieces<T>(text: string, items: T[], spanOf: (item: T) => Span): Piece<T>[] {
  const bytes = encoder.encode(text);
  const ends = [...new Set(items.map((item) => Math.min(spanOf(item).end, bytes.length)))].sort((a, b) => a - b);
  const cut: Piece<T>[] = [];
  let start = 0;
  for (const end of ends) {
    const marks = items.filter((item) => Math.min(spanOf(item).end, bytes.length) === end);
    cut.push({ text: decoder.decode(bytes.subarray(start, end)), marks });
    start = end;
  }
  if (start < bytes.length) cut.push({ text: decoder.decode(bytes.subarray(start)), marks: [] });
  return cut;
}

/** A part of a text that is under a span as a whole, or not at all. */
export interface Run {
  text: string;
  marked: boolean;
}

/** Cuts a text into what lies under spans and what does not. Spans may overlap or reach beyond its end. */
export function runs(text: string, spans: Span[]): Run[] {
  const bytes = encoder.encode(text);
  const cut: Run[] = [];
  let from = 0;
  const push = (until: number, marked: boolean) => {
    if (until > from) cut.push({ text: decoder.decode(bytes.subarray(from, until)), marked });
    from = Math.max(from, until);
  };
  for (const { start, end } of [...spans].sort((a, b) => a.start - b.start)) {
    push(Math.min(start, bytes.length), false);
    push(Math.min(end, bytes.length), true);
  }
  push(bytes.length, false);
  return cut;
}
