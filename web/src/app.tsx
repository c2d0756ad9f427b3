import { useEffect, useState } from "preact/hooks";
import { ApiError, type Collection, collections } from "./api";
import { Ask } from "./ask";
import { DocumentView, type Quoted } from "./document";
import { KeyForm } from "./key";
import { Search } from "./search";

type Mode = "ask" | "search";

/** The page: pick a collection, then ask it or search it; quoted documents open at the side. */
export function App() {
  const [known, setKnown] = useState<Collection[] | null>(null);
  const [name, setName] = useState("");
  const [mode, setMode] = useState<Mode>("ask");
  const [quoted, setQuoted] = useState<Quoted | null>(null);
  const [problem, setProblem] = useState("");
  const [locked, setLocked] = useState(false);

  function load() {
    collections().then(
      (found) => {
        setKnown(found);
        setName((old) => old || (found[0]?.name ?? ""));
        setProblem("");
        setLocked(false);
      },
      (error: Error) => {
        setProblem(error.message);
        setLocked(error instanceof ApiError && error.status === 401);
      },
    );
  }

  useEffect(load, []);

  const current = known?.find((collection) => collection.name === name);
  return (
    <main class="container">
      <header>
        <hgroup>
          <h1>Anser</h1>
          <p>Ask your own texts. Every answer shows where it comes from.</p>
        </hgroup>
        {known && known.length > 0 && (
          <label class="picker">
            Collection
            <select
              value={name}
              onChange={(event) => {
                setName(event.currentTarget.value);
                setQuoted(null);
              }}
            >
              {known.map((collection) => (
                <option key={collection.name} value={collection.name}>
                  {collection.name} ({collection.documents} documents)
                </option>
              ))}
            </select>
          </label>
        )}
      </header>
      {problem && <p role="alert">{problem}</p>}
      {locked && <KeyForm onKey={load} />}
      {known?.length === 0 && (
        <p>
          There is no collection yet. Make one with <code>anser ingest FILE --collection NAME</code> and reload this page.
        </p>
      )}
      {current && (
        <div class={quoted ? "columns" : undefined}>
          <section>
            <nav>
              <ul role="tablist">
                {(["ask", "search"] as const).map((each) => (
                  <li key={each}>
                    <button
                      type="button"
                      role="tab"
                      aria-selected={mode === each}
                      class={mode === each ? undefined : "outline"}
                      onClick={() => setMode(each)}
                    >
                      {each === "ask" ? "Ask" : "Search"}
                    </button>
                  </li>
                ))}
              </ul>
            </nav>
            {mode === "ask" ? (
              <Ask key={name} collection={name} onQuote={setQuoted} />
            ) : (
              <Search key={name} collection={name} onQuote={setQuoted} />
            )}
          </section>
          {quoted && <DocumentView collection={name} quoted={quoted} onClose={() => setQuoted(null)} />}
        </div>
      )}
    </main>
  );
}
