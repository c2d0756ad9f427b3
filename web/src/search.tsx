import { useRef, useState } from "preact/hooks";
import { type Hit, type SearchMode, type SearchOptions, search } from "./api";
import { runs } from "./bytes";
import type { Quoted } from "./document";

interface Props {
  collection: string;
  onQuote: (quoted: Quoted) => void;
}

/** The hits of all pages so far, and how to get the next one. */
interface Found {
  query: string;
  options: SearchOptions;
  hits: Hit[];
  next: string | null;
  mode: SearchMode;
}

const MODES: [value: "" | SearchMode, label: string][] = [
  ["", "As the collection is set"],
  ["hybrid", "Meaning and words"],
  ["vector", "Meaning"],
  ["keyword", "Words"],
];

/** A query with its options, and its hits page by page. */
export function Search({ collection, onQuote }: Props) {
  const [query, setQuery] = useState("");
  const [mode, setMode] = useState<"" | SearchMode>("");
  const [filter, setFilter] = useState("");
  const [groupBy, setGroupBy] = useState("");
  const [found, setFound] = useState<Found | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const running = useRef<AbortController | null>(null);

  async function load(query: string, options: SearchOptions, before: Hit[]) {
    running.current?.abort();
    const abort = new AbortController();
    running.current = abort;
    setBusy(true);
    setProblem("");
    try {
      const reply = await search(collection, query, options, abort.signal);
      setFound({ query, options, hits: [...before, ...reply.hits], next: reply.next, mode: reply.explain.mode });
    } catch (error) {
      if (!abort.signal.aborted) setProblem((error as Error).message);
    } finally {
      if (running.current === abort) setBusy(false);
    }
  }

  function find(event: Event) {
    event.preventDefault();
    if (!query.trim()) return;
    const options: SearchOptions = {};
    if (mode) options.mode = mode;
    if (filter.trim()) options.filter = filter.trim();
    if (groupBy.trim()) options.group_by = groupBy.trim();
    void load(query, options, []);
  }

  return (
    <>
      <form onSubmit={find}>
        <fieldset role="group">
          <input
            name="query"
            aria-label="Query"
            placeholder="Search for…"
            value={query}
            onInput={(event) => setQuery(event.currentTarget.value)}
          />
          <button type="submit" aria-busy={busy}>
            Search
          </button>
        </fieldset>
        <details class="options">
          <summary>Options</summary>
          <div class="grid">
            <label>
              Compare
              <select value={mode} onChange={(event) => setMode(event.currentTarget.value as "" | SearchMode)}>
                {MODES.map(([value, label]) => (
                  <option key={value} value={value}>
                    {label}
                  </option>
                ))}
              </select>
            </label>
            <label>
              Only where
              <input
                name="filter"
                placeholder="score &gt;= 4 and lang = &quot;en&quot;"
                value={filter}
                onInput={(event) => setFilter(event.currentTarget.value)}
              />
            </label>
            <label>
              One hit for each
              <input
                name="group_by"
                placeholder="product"
                value={groupBy}
                onInput={(event) => setGroupBy(event.currentTarget.value)}
              />
            </label>
          </div>
        </details>
      </form>
      {problem && <p role="alert">{problem}</p>}
      {found?.hits.length === 0 && <p>Nothing was found.</p>}
      {found?.hits.map((hit) => (
        <article key={hit.chunk.id} class="hit">
          <header>
            <a
              href="#hit"
              onClick={(event) => {
                event.preventDefault();
                onQuote({ document_id: hit.chunk.document_id, span: hit.chunk.span });
              }}
            >
              {hit.title ?? hit.chunk.document_id}
            </a>
            <small> {scores(hit, found.mode)}</small>
          </header>
          <p>
            <Marked hit={hit} />
          </p>
          <Attributes values={hit.attributes ?? {}} />
          {hit.group !== undefined && hit.group.more > 0 && (
            <small class="more">
              {" "}
              and {hit.group.more} more with {found.options.group_by} {String(hit.group.value)}
            </small>
          )}
        </article>
      ))}
      {found?.next && (
        <button
          type="button"
          class="outline"
          aria-busy={busy}
          onClick={() => {
            if (found.next) void load(found.query, { ...found.options, after: found.next }, found.hits);
          }}
        >
          More hits
        </button>
      )}
    </>
  );
}

/** What the hit is worth, in the terms of the search. */
function scores(hit: Hit, mode: SearchMode): string {
  const known: [name: string, value: number | undefined][] = [
    ["score", mode === "hybrid" ? hit.score : undefined],
    ["cosine", hit.vector_score],
    ["BM25", hit.keyword_score],
  ];
  return known.flatMap(([name, value]) => (value === undefined ? [] : `${name} ${value.toFixed(2)}`)).join(" · ");
}

/** The text of a hit, the words of the query marked. */
function Marked({ hit }: { hit: Hit }) {
  return (
    <>
      {runs(hit.chunk.text, hit.highlights ?? []).map((run, at) =>
        run.marked ? <mark key={at}>{run.text}</mark> : run.text,
      )}
    </>
  );
}

function Attributes({ values }: { values: Record<string, unknown> }) {
  const shown = Object.entries(values);
  if (shown.length === 0) return null;
  return <small>{shown.map(([name, value]) => `${name}: ${String(value)}`).join(" · ")}</small>;
}
