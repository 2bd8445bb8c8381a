-- A star over two columns of one name is not both of them the first.
CREATE TABLE a (id, name); CREATE TABLE b (id, v); CREATE TABLE c (x);
INSERT INTO a VALUES (1, 'n'); INSERT INTO b VALUES (7, 2); INSERT INTO c VALUES (0);
SELECT r.* FROM (SELECT * FROM a JOIN b) AS r JOIN c

-- The same by itself.
CREATE TABLE a (id, name); CREATE TABLE b (id, v);
INSERT INTO a VALUES (1, 'n'); INSERT INTO b VALUES (7, 2);
SELECT r.* FROM (SELECT * FROM a JOIN b) AS r

-- The number of the second of two columns of one name.
CREATE TABLE a (id, name); CREATE TABLE b (id, v);
INSERT INTO a VALUES (1, 'n'), (2, 'm'); INSERT INTO b VALUES (7, 2), (3, 4);
SELECT * FROM (SELECT a.id, b.id FROM a JOIN b) AS r ORDER BY 2, 1 DESC

-- A name that SQLite makes up of another is no string.
CREATE TABLE a (id); CREATE TABLE b (id);
INSERT INTO a VALUES (1); INSERT INTO b VALUES (7);
SELECT "id:1" FROM (SELECT a.id, b.id FROM a JOIN b)

-- Without an alias, another column gets the name that is asked for.
CREATE TABLE t (name, age);
INSERT INTO t VALUES ('n', 3);
SELECT r.name FROM (SELECT name AS id, age AS name FROM t) AS r

-- The same through two queries.
CREATE TABLE id (u, a);
INSERT INTO id VALUES (1, 2), (2, 2);
SELECT a FROM (SELECT n2.u AS a FROM (SELECT id.u AS a, id.a AS u FROM id WHERE a = a) AS n2) AS n1

-- The same through a star.
CREATE TABLE e (u, a);
INSERT INTO e VALUES (1, 1.5), (2, 1.5);
SELECT a FROM (SELECT * FROM (SELECT u AS n3 FROM e) AS n2 LEFT JOIN e AS n4 ON 1.5 = a) AS n1 GROUP BY u

-- What keeps a star from being spelled out does so the next time.
CREATE TABLE q (u, match);
INSERT INTO q VALUES (1, 2);
SELECT n1.* FROM (SELECT q.u, q.match AS u FROM q ORDER BY match) AS n1, q

-- A query in FROM without alias, a column with a name that needs quotes.
CREATE TABLE x ("1st", y); CREATE TABLE b ("q""q");
INSERT INTO x VALUES (1, 2); INSERT INTO b VALUES (3);
SELECT "q""q" FROM (SELECT * FROM (SELECT x."1st" + "1st" AS n3 FROM x) AS n2 JOIN b) AS n1

-- Columns of that kind twice.
CREATE TABLE t ("two words");
INSERT INTO t VALUES (1);
SELECT "two words" FROM (SELECT T2."two words", T2."two words" AS name FROM t AS T2) AS n1

-- An outer join that is an inner one to SQLite if NOT ... IS NULL becomes IS NOT NULL.
CREATE TABLE s (id INTEGER PRIMARY KEY, a); CREATE TABLE t (a, b); CREATE INDEX s_a ON s (a);
INSERT INTO s VALUES (1, 2), (2, 1); INSERT INTO t VALUES (1, 5), (2, 5);
SELECT s.id FROM s LEFT JOIN t ON s.a = t.a WHERE NOT t.b IS NULL ORDER BY t.b LIMIT 1

-- A partial index that such a condition opens.
CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE INDEX i ON t (b DESC, a DESC) WHERE a IS NOT NULL;
INSERT INTO t VALUES (1, 1, 1), (2, 2, 1), (3, 3, 1);
SELECT id FROM t WHERE NOT a IS NULL AND b = 1 ORDER BY b LIMIT 2

-- One that a comparison opens only if its sides change.
CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE INDEX i ON t (b DESC, id DESC) WHERE a = 1;
INSERT INTO t VALUES (1, 1, 1), (2, 1, 1), (3, 1, 1);
SELECT id FROM t WHERE 1 = a AND b = 1 ORDER BY b LIMIT 2

-- NOT LIKE, NOT IN and NOT BETWEEN in front of a partial index.
CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE INDEX i ON t (b DESC, id DESC) WHERE a NOT IN (5, 6);
INSERT INTO t VALUES (1, 1, 1), (2, 1, 1), (3, 1, 1);
SELECT id FROM t WHERE NOT a IN (5, 6) AND b = 1 ORDER BY b LIMIT 2

-- A list that is searched at once, and alternatives that are searched one by one.
CREATE TABLE b ("group"); CREATE TABLE w (name2, x, PRIMARY KEY (name2, x)) WITHOUT ROWID;
INSERT INTO b VALUES (1); INSERT INTO w VALUES ('u', 1), (1, 2);
SELECT w.x FROM b JOIN w WHERE w.name2 IN ('u', 1) LIMIT 1

-- A list of one name is no comparison to SQLite, though the name is a string.
CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE INDEX i ON t (a, b);
INSERT INTO t VALUES (1, 'v', 1), (2, 'v', 1), (3, 'v', 1);
SELECT id FROM t WHERE a IN ("v") ORDER BY b DESC LIMIT 1

-- NOT IN as several conditions.
CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE INDEX i ON t (b);
INSERT INTO t VALUES (1, 'v', 1), (2, 'v', 1), (3, 'v', 1);
SELECT id FROM t WHERE a NOT IN (1, 2, 3) ORDER BY b DESC LIMIT 1

-- EXISTS in ON is a value, in WHERE it is a join.
CREATE TABLE m ("group"); CREATE TABLE q (t1); CREATE TABLE t2 (e);
INSERT INTO m VALUES (1), (2); INSERT INTO q VALUES (2), (1); INSERT INTO t2 VALUES (1);
SELECT m."group" FROM m JOIN q ON "group" = q.t1 AND EXISTS (SELECT e FROM t2) LIMIT 1

-- The order of conditions decides between two plans of one price.
CREATE TABLE t2 ("1st"); CREATE INDEX i0 ON t2 ("1st"); CREATE INDEX i1 ON t2 ("1st" DESC); CREATE TABLE q (x);
INSERT INTO t2 VALUES (1), (2); INSERT INTO q VALUES (1), (2);
SELECT t2."1st" FROM t2, t2 AS n1 JOIN q ON n1."1st" = x AND t2."1st" NOT IN (5, 6) WHERE (x LIKE '%') ORDER BY 1

-- A column called TRUE, which SQLite takes for one here and for 1 there.
CREATE TABLE t (a, "true");
INSERT INTO t VALUES (1, 2), (3, 3);
SELECT a FROM t WHERE a IN (true)

-- One called FALSE.
CREATE TABLE t (a, "false");
INSERT INTO t VALUES (0, 2), (3, 3);
SELECT a FROM t WHERE a = false

-- In a star.
CREATE TABLE b (a, "true"); CREATE TABLE c (x);
INSERT INTO b VALUES (1, 2); INSERT INTO c VALUES (1);
SELECT b.* FROM b, c

-- As an alias, which is no name of a column then.
CREATE TABLE o ("false"); CREATE TABLE t ("1st");
INSERT INTO o VALUES (1); INSERT INTO t VALUES (1);
SELECT n1."1st" FROM t AS n1 JOIN (SELECT o."false" AS false FROM o) AS n2 ON "1st" = false

-- As a term with a collation, which is not the number of a column.
CREATE TABLE b (a, c);
INSERT INTO b VALUES (1, 2), (2, 1);
SELECT FALSE AS n1, a FROM b ORDER BY FALSE COLLATE NOCASE

-- As a term of GROUP BY.
CREATE TABLE b (a, c);
INSERT INTO b VALUES (1, 2), (2, 1);
SELECT true FROM b GROUP BY true

-- Generated columns are columns.
CREATE TABLE x (y, name, t1 AS (y || 'u'), n AS (name || 'v') STORED); CREATE TABLE z (a);
INSERT INTO x (y, name) VALUES (1, 2), (0, 3); INSERT INTO z VALUES (1);
SELECT x.y, x.* FROM x, z ORDER BY 4 DESC

-- They are no strings.
CREATE TABLE m (n, "it's" AS (n || 1));
INSERT INTO m VALUES (0), (2);
SELECT n FROM m WHERE CAST("it's" AS INTEGER) = 1

-- Nor the names of others.
CREATE TABLE q (a, "1st" AS (a + 1));
INSERT INTO q VALUES (0), (2);
SELECT "1st" FROM q GROUP BY a

-- A sign and what binds it, as other dialects read it.
CREATE TABLE a (t1, b);
INSERT INTO a VALUES (3, 4);
SELECT (~ t1) * b FROM a

-- A sign before a collation.
CREATE TABLE t (name);
INSERT INTO t VALUES (1), ('a');
SELECT name FROM t ORDER BY (- name) COLLATE NOCASE

-- A keyword as the name of a result column.
CREATE TABLE e (match);
INSERT INTO e VALUES (1);
SELECT n1.match FROM (SELECT match AS `match` FROM e) AS n1 JOIN e AS n2

-- A name in backticks is never a string.
CREATE TABLE x ("two words", id);
INSERT INTO x VALUES (1, 2), (0, 3);
SELECT `two words` AS "two words", "two words" FROM x WHERE id GROUP BY "two words" ORDER BY 2 DESC

-- The number of the second of two columns that are written differently.
CREATE TABLE o (count, name2); CREATE TABLE i (id);
INSERT INTO o VALUES (1, 2), (2, 1); INSERT INTO i VALUES (1);
SELECT count, n1.count FROM o AS n1 UNION SELECT o.count AS n2, name2 = 1 FROM i, o ORDER BY 2

-- A number that becomes the name of a column of a star.
CREATE TABLE o (x, y); CREATE TABLE i (x, z);
INSERT INTO o VALUES (1, 2), (0, 1); INSERT INTO i VALUES (1, 1);
SELECT x AS n5, n1.x, * FROM (SELECT n2.x FROM o AS n2) AS n1 INNER JOIN i AS n4 USING (x) ORDER BY 1

-- Two result columns that are one: SQLite sorts by the first, or by the last.
CREATE TABLE m (id, x); CREATE TABLE e (y);
INSERT INTO m VALUES (2, 1), (1, 2); INSERT INTO e VALUES (1);
SELECT id FROM (SELECT m.id AS id, m.id FROM e JOIN m ORDER BY id) AS n1 GROUP BY id

-- A double-quoted string that is compared with NULL.
CREATE TABLE t2 (match); CREATE INDEX i ON t2 (match);
INSERT INTO t2 VALUES (1), (2);
SELECT n1.match BETWEEN 1 AND 1 AND "v" IS NULL AND t2.match FROM t2 AS n1, t2 LIMIT 1

-- A result column with a collation is not its expression with that collation.
CREATE TABLE t1 (t1 PRIMARY KEY) WITHOUT ROWID; CREATE TABLE t2 (x);
INSERT INTO t1 VALUES ('a'), ('B'); INSERT INTO t2 VALUES (1);
SELECT DISTINCT n1.* FROM (SELECT t1 AS n3 FROM t1, t2 AS n2 ORDER BY n3 COLLATE NOCASE LIMIT 1) AS n1

-- A term behind UNION that has only the name of a result column.
CREATE TABLE id (t1, x); CREATE TABLE q (t1);
INSERT INTO id VALUES (1, 2); INSERT INTO q VALUES (2);
SELECT q.t1 FROM id JOIN q UNION SELECT t1 AS t1 FROM q ORDER BY q.t1

-- Without schema, a name may be that of any column behind a star.
CREATE TABLE e (name); CREATE TABLE t1 (x);
INSERT INTO e VALUES (1); INSERT INTO t1 VALUES (2);
SELECT n1.n4 FROM (SELECT * FROM (SELECT n3.name AS n4 FROM e AS n3) AS n2 INNER JOIN t1 AS n5) AS n1 LEFT JOIN e ON n1.n4 = e.name

-- The number of a column that has no name of its own.
CREATE TABLE o (x, id);
INSERT INTO o VALUES (1, 3), (2, 2);
SELECT n1.*, x FROM (SELECT n2.x, n2.id AS x, n2.id FROM o AS n2) AS n1 ORDER BY 2 DESC

-- The number of a column that is TRUE.
CREATE TABLE t (name);
INSERT INTO t VALUES (1), (2);
SELECT TRUE, true AS e FROM (SELECT * FROM t) AS n1 GROUP BY 1 ORDER BY 2 DESC

-- The same expression, once of a name and once of a column.
CREATE TABLE b (a);
INSERT INTO b VALUES (1), (2);
SELECT group_concat(n1.a), group_concat([a]) AS a, a AS n2 FROM b AS n1 GROUP BY a ORDER BY 1 DESC, group_concat(n1.a) COLLATE NOCASE

-- What keeps a star from being spelled out may stand in a query of a query.
CREATE TABLE x (match, "1st", "it's");
INSERT INTO x VALUES (1, 2, 3);
SELECT n1.* FROM (SELECT * FROM (SELECT n3.match, n3."1st", n3."it's" AS "1st" FROM x AS n3) AS n2) AS n1, x
