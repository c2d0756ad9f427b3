import { useEffect, useRef, useState } from "preact/hooks";
import { type Span, type StoredDocument, storedDocument } from "./api";
import { splitAt } from "./bytes";

/** A place in a document that something refers to. */
export interface Quoted {
  document_id: string;
  span: Span;
}

interface Props {
  collection: string;
  quoted: Quoted;
  onClose: () => void;
}

/** A document with the quoted passage marked and scrolled into view. */
export function DocumentView({ collection, quoted, onClose }: Props) {
  const [found, setFound] = useState<StoredDocument | null>(null);
  const [problem, setProblem] = useState("");
  const mark = useRef<HTMLElement>(null);

  useEffect(() => {
    let current = true;
    setProblem("");
    storedDocument(collection, quoted.document_id).then(
      (document) => current && setFound(document),
      (error: Error) => current && setProblem(error.message),
    );
    return () => {
      current = false;
    };
  }, [collection, quoted.document_id]);

  useEffect(() => mark.current?.scrollIntoView({ block: "center", behavior: "smooth" }), [found, quoted]);

  const shown = found?.id === quoted.document_id ? found : null;
  const [before, inside, after] = shown ? splitAt(shown.text, quoted.span) : ["", "", ""];
  return (
    <aside class="document" aria-label="Quoted document">
      <article>
        <header>
          <button type="button" class="close" aria-label="Close" onClick={onClose} />
          <strong>{shown?.title ?? quoted.document_id}</strong>
        </header>
        {problem && <p role="alert">{problem}</p>}
        {shown && (
          <p class="text">
            {before}
            <mark ref={mark}>{inside}</mark>
            {after}
          </p>
        )}
        <footer>
          <small>
            {quoted.document_id}, bytes {quoted.span.start}–{quoted.span.end}
          </small>
        </footer>
      </article>
    </aside>
  );
}
