SELECT count(*) FROM species WHERE conservation_status = "Endangered"	seed_bank
SELECT full_name FROM collectors WHERE joined_year BETWEEN 2005 AND 2012	seed_bank
SELECT count(DISTINCT country) FROM accessions	seed_bank
SELECT T2.family_name , count(*) FROM species AS T1 JOIN plant_families AS T2 ON T1.family_id = T2.family_id GROUP BY T2.family_id	seed_bank
SELECT full_name FROM collectors WHERE home_country = "Norway" OR home_country = "Chile"	seed_bank
SELECT test_id , seeds_sown - seeds_sprouted FROM germination_tests WHERE tested_on LIKE '2021%'	seed_bank
SELECT common_name FROM species WHERE species_id NOT IN (SELECT species_id FROM accessions)	seed_bank
SELECT latin_name , seed_mass_mg FROM species WHERE common_name LIKE "%bell%" ORDER BY seed_mass_mg DESC	seed_bank
SELECT T2.climate_zone , avg(T1.lifespan_years) FROM species AS T1 JOIN plant_families AS T2 ON T1.family_id = T2.family_id GROUP BY T2.climate_zone ORDER BY T2.climate_zone	seed_bank
SELECT T2.full_name FROM accessions AS T1 JOIN collectors AS T2 ON T1.collector_id = T2.collector_id GROUP BY T2.collector_id ORDER BY sum(T1.seed_count) DESC LIMIT 1	seed_bank
SELECT T2.common_name FROM accessions AS T1 JOIN species AS T2 ON T1.species_id = T2.species_id WHERE T1.country = "Peru" INTERSECT SELECT T2.common_name FROM accessions AS T1 JOIN species AS T2 ON T1.species_id = T2.species_id WHERE T1.country = "Kenya"	seed_bank
SELECT count(*) FROM germination_tests WHERE seeds_sprouted > (SELECT avg(seeds_sprouted) FROM germination_tests) AND temperature_c >= 20	seed_bank
SELECT telescope_name FROM telescopes WHERE aperture_cm > 100	night_log
SELECT max(duration_s) FROM exposures WHERE filter_band = "Red"	night_log
SELECT DISTINCT constellation FROM sky_targets WHERE target_kind = 'Galaxy'	night_log
SELECT staff_role , count(*) , avg(years_experience) FROM astronomers GROUP BY staff_role	night_log
SELECT T1.night_date FROM sessions AS T1 JOIN telescopes AS T2 ON T1.telescope_id = T2.telescope_id WHERE T2.telescope_name = "Old Juniper"	night_log
SELECT target_name , magnitude FROM sky_targets ORDER BY magnitude ASC LIMIT 3	night_log
SELECT telescope_name FROM telescopes WHERE telescope_id NOT IN (SELECT telescope_id FROM sessions WHERE cloud_cover_pct > 80)	night_log
SELECT full_name FROM astronomers WHERE years_experience > (SELECT avg(years_experience) FROM astronomers)	night_log
SELECT DISTINCT T3.target_kind FROM sessions AS T1 JOIN exposures AS T2 ON T1.session_id = T2.session_id JOIN sky_targets AS T3 ON T2.target_id = T3.target_id WHERE T1.cloud_cover_pct < 10	night_log
SELECT T3.full_name , sum(T1.duration_s) FROM exposures AS T1 JOIN sessions AS T2 ON T1.session_id = T2.session_id JOIN astronomers AS T3 ON T2.astronomer_id = T3.astronomer_id GROUP BY T3.astronomer_id HAVING sum(T1.duration_s) > 3000 ORDER BY sum(T1.duration_s) DESC	night_log
SELECT home_institute FROM astronomers WHERE staff_role = "Student" AND years_experience < 3 EXCEPT SELECT home_institute FROM astronomers WHERE staff_role = "Staff"	night_log
SELECT T2.telescope_name , count(*) FROM sessions AS T1 JOIN telescopes AS T2 ON T1.telescope_id = T2.telescope_id WHERE T1.cloud_cover_pct BETWEEN 0 AND 20 GROUP BY T2.telescope_id HAVING count(*) >= 2 ORDER BY T2.telescope_name	night_log
SELECT lighthouse_name FROM lighthouses WHERE light_colour = "Red"	lighthouse_coast
SELECT avg(tower_height_m) FROM lighthouses	lighthouse_coast
SELECT count(*) FROM ship_sightings WHERE weather = 'Fog'	lighthouse_coast
SELECT light_colour , count(*) FROM lighthouses GROUP BY light_colour	lighthouse_coast
SELECT T1.lighthouse_name , T2.harbour_name FROM lighthouses AS T1 JOIN harbours AS T2 ON T1.harbour_id = T2.harbour_id WHERE T2.region_name = "North Sound"	lighthouse_coast
SELECT ship_kind , max(cargo_tons) FROM ship_sightings GROUP BY ship_kind HAVING count(*) >= 8	lighthouse_coast
SELECT harbour_name FROM harbours EXCEPT SELECT T1.harbour_name FROM harbours AS T1 JOIN lighthouses AS T2 ON T1.harbour_id = T2.harbour_id	lighthouse_coast
SELECT ship_name FROM ship_sightings WHERE weather = "Storm" UNION SELECT ship_name FROM ship_sightings WHERE cargo_tons > 5000	lighthouse_coast
SELECT T1.keeper_name FROM keepers AS T1 JOIN postings AS T2 ON T1.keeper_id = T2.keeper_id JOIN lighthouses AS T3 ON T2.lighthouse_id = T3.lighthouse_id WHERE T3.lighthouse_name = "Gull Stack"	lighthouse_coast
SELECT T1.keeper_name , count(*) FROM keepers AS T1 JOIN postings AS T2 ON T1.keeper_id = T2.keeper_id GROUP BY T1.keeper_id ORDER BY count(*) DESC LIMIT 1	lighthouse_coast
SELECT lighthouse_name FROM lighthouses WHERE built_year < 1880 AND lighthouse_id IN (SELECT lighthouse_id FROM ship_sightings WHERE ship_kind = "Whaler")	lighthouse_coast
SELECT T2.region_name , avg(T1.tower_height_m) FROM lighthouses AS T1 JOIN harbours AS T2 ON T1.harbour_id = T2.harbour_id WHERE T1.light_colour != "White" GROUP BY T2.region_name ORDER BY avg(T1.tower_height_m) DESC LIMIT 2	lighthouse_coast
SELECT tool_name FROM tools WHERE daily_fee <= 1.5	tool_library
SELECT count(DISTINCT maker) FROM tools	tool_library
SELECT full_name FROM members ORDER BY joined_on	tool_library
SELECT category , min(daily_fee) , max(daily_fee) FROM tools GROUP BY category	tool_library
SELECT tool_name FROM tools WHERE tool_name LIKE "%saw%"	tool_library
SELECT T2.full_name , T1.taken_on FROM loans AS T1 JOIN members AS T2 ON T1.member_id = T2.member_id WHERE T1.rating = 5	tool_library
SELECT tool_name FROM tools WHERE tool_id IN (SELECT tool_id FROM repairs WHERE parts_cost > 40)	tool_library
SELECT neighbourhood FROM members INTERSECT SELECT neighbourhood FROM volunteers	tool_library
SELECT T2.tool_name , count(*) FROM loans AS T1 JOIN tools AS T2 ON T1.tool_id = T2.tool_id WHERE T2.category = "Garden" GROUP BY T2.tool_id	tool_library
SELECT T2.full_name FROM repairs AS T1 JOIN volunteers AS T2 ON T1.volunteer_id = T2.volunteer_id WHERE T1.hours_spent > 1 GROUP BY T2.volunteer_id HAVING count(*) >= 3 ORDER BY T2.full_name	tool_library
SELECT T1.full_name FROM members AS T1 JOIN loans AS T2 ON T1.member_id = T2.member_id JOIN tools AS T3 ON T2.tool_id = T3.tool_id WHERE T3.category = "Carpentry" EXCEPT SELECT T1.full_name FROM members AS T1 JOIN loans AS T2 ON T1.member_id = T2.member_id JOIN tools AS T3 ON T2.tool_id = T3.tool_id WHERE T3.category = "Painting"	tool_library
SELECT category , avg(weight_kg) FROM tools WHERE daily_fee > (SELECT avg(daily_fee) FROM tools) GROUP BY category	tool_library
