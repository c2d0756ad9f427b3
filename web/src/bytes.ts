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
