//! Rows out of a spreadsheet: the first sheet that holds anything, its first row with text being the header.

use std::io::Cursor;

use calamine::{Data, Range, Reader, Sheets, open_workbook_auto_from_rs};

use super::super::json::Json;
use super::table::column_name;
use super::{RawRow, RawRows};

/// Reads a workbook (XLSX, XLSB, XLS or ODS); `Err` says why it cannot be read.
pub(super) fn read(bytes: Vec<u8>) -> Result<RawRows, String> {
    // The library has been seen to panic on damaged workbooks of old formats; its state is dropped right after.
    let range = std::panic::catch_unwind(|| first_sheet(bytes))
        .unwrap_or_else(|_| Err("the spreadsheet is damaged; save it again or export it as CSV".to_owned()))?;
    let first = range.start().map_or(0, |(row, _)| u64::from(row));
    let mut rows = range.rows().enumerate();
    let header = loop {
        let Some((_, cells)) = rows.next() else {
            return Err("the spreadsheet holds no row; give it examples".to_owned());
        };
        if cells.iter().any(|cell| !text_of(cell).trim().is_empty()) {
            break cells;
        }
    };
    let names: Vec<String> = header.iter().enumerate().map(|(at, cell)| column_name(at, &text_of(cell))).collect();
    let mut found = RawRows { tabular: true, ..RawRows::default() };
    for (at, cells) in rows {
        let texts: Vec<String> = cells.iter().map(text_of).collect();
        if texts.iter().all(|text| text.trim().is_empty()) {
            continue;
        }
        let fields = names.iter().cloned().zip(texts.into_iter().map(Json::Text)).collect();
        found.rows.push(RawRow { line: first + at as u64 + 1, fields });
    }
    Ok(found)
}

fn first_sheet(bytes: Vec<u8>) -> Result<Range<Data>, String> {
    let unreadable = |error: calamine::Error| format!("the spreadsheet cannot be read: {error}; export it as CSV");
    let mut workbook: Sheets<_> = open_workbook_auto_from_rs(Cursor::new(bytes)).map_err(unreadable)?;
    for name in workbook.sheet_names() {
        let range = workbook.worksheet_range(&name).map_err(unreadable)?;
        if !range.is_empty() {
            return Ok(range);
        }
    }
    Err("no sheet of the workbook holds anything; give it examples".to_owned())
}

/// A cell as the text that it shows; whole numbers without a decimal point.
fn text_of(cell: &Data) -> String {
    match cell {
        Data::Empty | Data::Error(_) => String::new(),
        Data::DateTime(time) if time.is_datetime() => {
            let (year, month, day, hour, minute, second, _) = time.to_ymd_hms_milli();
            let date = format!("{year:04}-{month:02}-{day:02}");
            if (hour, minute, second) == (0, 0, 0) { date } else { format!("{date} {hour:02}:{minute:02}:{second:02}") }
        }
        other => other.to_string(),
    }
}
