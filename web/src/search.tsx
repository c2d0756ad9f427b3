import { useRef, useState } from "preact/hooks";
import { type SearchReply, search } from "./api";
import type { Quoted } from "./document";

interface Props {
  collection: string;
  onQuote: (quoted: Quoted) => void;
}

/** A query and its hits. */
export function Search({ collection, onQuote }: Props) {
  const [query, setQuery] = useState("");
  const [reply, setReply] = useState<SearchReply | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const running = useRef<AbortController | null>(null);

  async function find(event: Event) {
    event.preventDefault();
    if (!query.trim()) return;
    running.current?.abort();
    const abort = new AbortController();
    running.current = abort;
    setBusy(true);
    setProblem("");
    try {
      setReply(await search(collection, query, abort.signal));
    } catch (error) {
      if (!abort.signal.aborted) setProblem((error as Error).message);
    } finally {
      if (running.current === abort) setBusy(false);
    }
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
      </form>
      {problem && <p role="alert">{problem}</p>}
      {reply?.hits.length === 0 && <p>Nothing was found.</p>}
      {reply?.hits.map((hit) => (
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
            <small> cosine {hit.score.toFixed(2)}</small>
          </header>
          <p>{hit.chunk.text}</p>
          <Attributes values={hit.attributes ?? {}} />
        </article>
      ))}
    </>
  );
}

function Attributes({ values }: { values: Record<string, unknown> }) {
  const shown = Object.entries(values);
  if (shown.length === 0) return null;
  return <small>{shown.map(([name, value]) => `${name}: ${String(value)}`).join(" · ")}</small>;
}
