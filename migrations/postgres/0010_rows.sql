-- The rows of a group travel to PostgreSQL as one text that it splits at separators. This operator takes the columns out of a row
-- as `->>` does out of JSON, so that both databases run the same statements; the planner puts its body where it is used.
CREATE FUNCTION column_of_row(TEXT[], INTEGER) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT $1[$2 + 1]';
CREATE OPERATOR ->> (LEFTARG = TEXT[], RIGHTARG = INTEGER, FUNCTION = column_of_row);
