import { useRef, useState } from "preact/hooks";
import { type Answer, type Citation, answer } from "./api";
import { pieces } from "./bytes";
import type { Quoted } from "./document";

interface Props {
  collection: string;
  onQuote: (quoted: Quoted) => void;
}

/** A question, the answer while it is written, and its citations as buttons. */
export function Ask({ collection, onQuote }: Props) {
  const [question, setQuestion] = useState("");
  const [text, setText] = useState("");
  const [finished, setFinished] = useState<Answer | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const running = useRef<AbortController | null>(null);

  async function ask(event: Event) {
    event.preventDefault();
    if (busy || !question.trim()) return;
    const abort = new AbortController();
    running.current = abort;
    setBusy(true);
    setText("");
    setFinished(null);
    setProblem("");
    try {
      setFinished(await answer(collection, question, (piece) => setText((old) => old + piece), abort.signal));
    } catch (error) {
      if (!abort.signal.aborted) setProblem((error as Error).message);
    } finally {
      setBusy(false);
    }
  }

  return (
    <>
      <form onSubmit={ask}>
        <fieldset role="group">
          <input
            name="question"
            aria-label="Question"
            placeholder="Ask a question…"
            value={question}
            onInput={(event) => setQuestion(event.currentTarget.value)}
          />
          {busy ? (
            <button type="button" class="secondary" onClick={() => running.current?.abort()}>
              Stop
            </button>
          ) : (
            <button type="submit">Ask</button>
          )}
        </fieldset>
      </form>
      {problem && <p role="alert">{problem}</p>}
      {(busy || text || finished) && (
        <article aria-live="polite" aria-busy={busy && !text} class="answer" data-finished={finished !== null}>
          {finished ? <Cited answer={finished} onQuote={onQuote} /> : <p>{text}</p>}
        </article>
      )}
      {finished && <Sources answer={finished} onQuote={onQuote} />}
    </>
  );
}

function Cited({ answer, onQuote }: { answer: Answer; onQuote: (quoted: Quoted) => void }) {
  return (
    <p>
      {pieces<Citation>(answer.text, answer.citations, (citation) => citation.answer_span).map((piece, at) => (
        <span key={at}>
          {piece.text}
          {piece.marks.map((citation) => (
            <button
              key={`${citation.number}-${citation.span.start}`}
              type="button"
              class="citation"
              title={citation.quote}
              onClick={() => onQuote(citation)}
            >
              {citation.number}
            </button>
          ))}
        </span>
      ))}
    </p>
  );
}

function Sources({ answer, onQuote }: { answer: Answer; onQuote: (quoted: Quoted) => void }) {
  const { timings } = answer;
  return (
    <details open={answer.abstained}>
      <summary>
        {answer.abstained ? "Nearest passages" : "Passages the model was shown"} · {(timings.total_ms / 1000).toFixed(1)} s
      </summary>
      <ol class="passages">
        {answer.passages.map((passage) => (
          <li key={passage.number} value={passage.number}>
            <a
              href="#passage"
              onClick={(event) => {
                event.preventDefault();
                onQuote(passage);
              }}
            >
              {passage.title ?? passage.document_id}
            </a>
            <small> cosine {passage.score.toFixed(2)}</small>
            <p>{passage.text}</p>
          </li>
        ))}
      </ol>
    </details>
  );
}
