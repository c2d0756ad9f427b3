// The public HTTP API, as far as this page uses it.

import { createParser } from "eventsource-parser";

export interface Span {
  start: number;
  end: number;
}

export interface Collection {
  name: string;
  documents: number;
  chunks: number;
}

export interface Hit {
  chunk: { id: number; document_id: string; span: Span; text: string };
  score: number;
  vector_score?: number;
  keyword_score?: number;
  rerank_score?: number;
  /** Where words of the query stand in the chunk's text, in bytes. */
  highlights?: Span[];
  group?: { value: unknown; more: number };
  title?: string;
  attributes?: Record<string, unknown>;
}

export type SearchMode = "hybrid" | "vector" | "keyword";

/** What a search may ask for besides its query; what is left out is as the collection's settings have it. */
export interface SearchOptions {
  mode?: SearchMode;
  /** A condition such as `score >= 4`. */
  filter?: string;
  group_by?: string;
  /** `next` of the page before. */
  after?: string;
}

export interface SearchReply {
  hits: Hit[];
  next: string | null;
  explain: { mode: SearchMode; timings: { total_ms: number } };
}

export interface Passage {
  number: number;
  document_id: string;
  span: Span;
  title?: string;
  text: string;
  score: number;
}

export interface Citation {
  number: number;
  document_id: string;
  title?: string;
  span: Span;
  quote: string;
  answer_span: Span;
  support: number;
}

export interface Answer {
  text: string;
  citations: Citation[];
  abstained: boolean;
  passages: Passage[];
  timings: { retrieve_ms: number; rerank_ms: number; generate_ms: number; total_ms: number };
}

export interface StoredDocument {
  id: string;
  title?: string;
  text: string;
  attributes?: Record<string, unknown>;
}

/** What the server said was wrong. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status?: number,
  ) {
    super(message);
  }
}

/** Where a key is kept until the tab is closed. */
const KEY = "anser-api-key";

/** Remembers the key that a server with keys asks for. */
export function rememberKey(key: string): void {
  sessionStorage.setItem(KEY, key);
}

function authorization(): Record<string, string> {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function checked(response: Response): Promise<Response> {
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new ApiError(body?.error?.message ?? `the server replied ${response.status}`, response.status);
}

async function post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const headers = { "Content-Type": "application/json", ...authorization() };
  return checked(await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal: signal ?? null }));
}

const collectionPath = (name: string) => `/v1/collections/${encodeURIComponent(name)}`;

async function get(path: string) {
  return (await checked(await fetch(path, { headers: authorization() }))).json();
}

export async function collections(): Promise<Collection[]> {
  return (await get("/v1/collections")).data;
}

export async function search(
  collection: string,
  query: string,
  options: SearchOptions,
  signal: AbortSignal,
): Promise<SearchReply> {
  const body = { query, limit: 10, rerank: true, highlight: true, ...options };
  return (await post(`${collectionPath(collection)}/search`, body, signal)).json();
}

export async function storedDocument(collection: string, id: string): Promise<StoredDocument> {
  return get(`${collectionPath(collection)}/documents/${encodeURIComponent(id)}`);
}

/** Asks, calls `onText` with each piece of the answer as it is written, and returns the finished answer. */
export async function answer(
  collection: string,
  question: string,
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<Answer> {
  const response = await post(`${collectionPath(collection)}/answers`, { question, stream: true }, signal);
  if (!response.body) throw new ApiError("the server sent no answer");
  let finished: Answer | undefined;
  let failure: string | undefined;
  const parser = createParser({
    onEvent({ event, data }) {
      if (data.startsWith("[DONE]")) return;
      const value = JSON.parse(data);
      if (event === "delta") onText(value.text);
      else if (event === "answer") finished = value;
      else if (event === "error") failure = value.error?.message ?? "the answer broke off";
    },
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) parser.feed(part.value);
  if (failure) throw new ApiError(failure);
  if (!finished) throw new ApiError("the answer broke off; is the server still running?");
  return finished;
}
