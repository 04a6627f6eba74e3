//! Questions to agents and their answers. The number of a question is part of its key, so that two people who ask at once cannot ask
//! more together than may be asked; an answer is given once.

use sqlx::any::AnyRow;

use super::codec::{Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{MAX_PAGE_OF_TASK, Store, StoreError, Tx};
use crate::domain::{Person, Question, RequestId, TaskId};

const TABLE: &str = "question";

pub(super) const INSERT: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- questions.insert
        INSERT INTO question (request_id, number, id, person, text, asked_at)
        SELECT v.value->>0, CAST(v.value->>1 AS BIGINT), v.value->>2, v.value->>3, v.value->>4,
            CAST(v.value->>5 AS BIGINT)
        FROM "
    ),
};

pub(super) const ANSWER: Statement = Statement {
    table: TABLE,
    expect: Expect::Each,
    sql: grouped!(
        "-- questions.answer
        UPDATE question SET answer = v.value->>2, answered_at = CAST(v.value->>3 AS BIGINT)
        FROM ",
        " WHERE question.request_id = v.value->>0 AND question.number = CAST(v.value->>1 AS BIGINT)
            AND question.answered_at IS NULL"
    ),
};

pub(super) const CHECK: Statement = Statement {
    table: TABLE,
    expect: Expect::Seen,
    sql: grouped!(
        "-- questions.check
        SELECT v.value->>0 AS request_id FROM ",
        " WHERE (SELECT COUNT(*) FROM question AS q WHERE q.request_id = v.value->>0 AND q.answered_at IS NOT NULL)
            = CAST(v.value->>1 AS BIGINT)"
    ),
};

macro_rules! select {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- ",
            $name,
            "
            SELECT request_id, number, id, person, text, asked_at, answer, answered_at FROM question ",
            $rest
        )
    };
}

impl Tx {
    /// Add a question; another one of the same number of that request conflicts.
    pub fn insert_question(&mut self, question: &Question, task: TaskId) {
        self.list.touched.tasks.push(task);
        self.list.push(Change::QuestionInsert, |row| {
            row.show(question.request).int(i64::from(question.number)).show(question.id);
            row.text(question.person.as_str()).text(question.text.as_str()).time(question.asked_at);
        });
    }

    /// Write the answer of a question that has none yet.
    pub fn answer_question(&mut self, answered: &Question) {
        self.list.push(Change::QuestionAnswer, |row| {
            row.show(answered.request).int(i64::from(answered.number));
            row.maybe_text(answered.answer.as_ref().map(|(text, _)| text.as_str()));
            row.maybe_time(answered.answer.as_ref().map(|(_, at)| *at));
        });
    }

    /// Commit only if just so many of the request's questions are answered.
    pub fn check_answers(&mut self, request: RequestId, answered: usize) {
        self.list.push(Change::QuestionCheck, |row| {
            row.show(request).int(i64::try_from(answered).unwrap_or(i64::MAX));
        });
    }
}

impl Store {
    /// The questions about an access request, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_questions(&self, request: RequestId) -> Result<Vec<Question>, StoreError> {
        let query = sqlx::query(select!("questions.list", "WHERE request_id = $1 ORDER BY number LIMIT $2"))
            .bind(request.to_string())
            .bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }

    /// The questions about the access requests of a task that wait for people, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn list_questions_of_task(&self, task: TaskId) -> Result<Vec<Question>, StoreError> {
        let query = sqlx::query(select!(
            "questions.list_of_task",
            "WHERE request_id IN (SELECT id FROM access_request WHERE task_id = $1 AND state = 'pending')
            ORDER BY id LIMIT $2"
        ))
        .bind(task.to_string())
        .bind(MAX_PAGE_OF_TASK);
        self.list(query, read).await
    }
}

fn read(row: &AnyRow) -> Result<Question, StoreError> {
    let row = Reader::new(TABLE, row);
    let answer = match (row.maybe_parse("answer")?, row.maybe_time("answered_at")?) {
        (Some(text), Some(at)) => Some((text, at)),
        _ => None,
    };
    Ok(Question {
        id: row.parse("id")?,
        request: row.parse("request_id")?,
        number: u32::try_from(row.int("number")?).map_err(|error| row.corrupt("number", error))?,
        person: Person::new(row.text("person")?),
        text: row.parse("text")?,
        asked_at: row.time("asked_at")?,
        answer,
    })
}
