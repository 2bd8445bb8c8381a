SELECT `a`, [b], "c" -- x
 FROM t /* y */ WHERE a > = 1 AND YEAR(CURDATE()) - 1 $$ z $$ GO 2