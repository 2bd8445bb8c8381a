SELECT count(*) FROM species WHERE conservation_status = "Endangered"
SELECT full_name FROM collectors WHERE joined_year > 2005 AND joined_year < 2012
SELECT count(DISTINCT home_country) FROM collectors
SELECT family_id , count(*) FROM species GROUP BY family_id
SELECT full_name FROM collectors WHERE home_country = 'Chile' OR home_country = 'Norway'
SELECT test_id , seeds_failed FROM germination_tests WHERE tested_on LIKE '2021%'
SELECT common_name FROM species WHERE species_id NOT IN ( SELECT species_id FROM accessions )
SELECT latin_name , seed_mass_mg FROM species WHERE common_name LIKE "%bell%" ORDER BY seed_mass_mg
SELECT T1.climate_zone , avg(T2.lifespan_years) FROM plant_families AS T1 JOIN species AS T2 ON T1.family_id = T2.family_id GROUP BY T1.climate_zone ORDER BY T1.climate_zone ;
SELECT T2.full_name FROM accessions AS T1 JOIN collectors AS T2 ON T1.collector_id = T2.collector_id GROUP BY T2.collector_id ORDER BY count(*) DESC LIMIT 1
SELECT T2.common_name FROM accessions AS T1 JOIN species AS T2 ON T1.species_id = T2.species_id WHERE T1.country = "Peru" AND T1.country = "Kenya"
SELECT count(*) FROM germination_tests WHERE seeds_sprouted > (SELECT avg(seeds_sprouted) FROM germination_tests)
SELECT telescope_name FROM telescopes WHERE aperture_cm >= 100
SELECT max(duration_s) FROM exposures WHERE filter_band = "Red"
SELECT constellation FROM sky_targets WHERE target_kind = "Galaxy"
SELECT staff_role , count(*) , sum(years_experience) FROM astronomers GROUP BY staff_role
SELECT T2.night_date FROM telescopes AS T1 JOIN sessions AS T2 ON T1.telescope_id = T2.telescope_id WHERE T1.telescope_name = "Old Juniper"
SELECT magnitude , target_name FROM sky_targets ORDER BY magnitude LIMIT 3
SELECT telescope_name FROM telescopes WHERE telescope_id IN (SELECT telescope_id FROM sessions WHERE cloud_cover_pct <= 80)
SELECT full_name FROM astronomers WHERE years_experience > (SELECT avg(years_experience) FROM astronomers)
SELECT DISTINCT T3.target_kind FROM sessions AS T1 JOIN exposures AS T2 ON T1.session_id = T2.session_id JOIN sky_targets AS T3 ON T2.exposure_id = T3.target_id WHERE T1.cloud_cover_pct < 10
SELECT T3.full_name , sum(T1.duration_s) FROM exposures AS T1 JOIN sessions AS T2 ON T1.session_id = T2.session_id JOIN astronomers AS T3 ON T2.astronomer_id = T3.astronomer_id GROUP BY T3.astronomer_id HAVING ORDER BY sum(T1.duration_s) > 3000
SELECT home_institute FROM astronomers WHERE staff_role = "Student" AND years_experience < 3
SELECT T2.telescope_name , count(*) FROM sessions AS T1 JOIN telescopes AS T2 ON T1.telescope_id = T2.telescope_id WHERE T1.cloud_cover_pct BETWEEN 0 AND 20 GROUP BY T2.telescope_id ORDER BY T2.telescope_name
SELECT lighthouse_name FROM lighthouses WHERE light_colour = 'Red'
select avg ( tower_height_m ) from lighthouses ;
SELECT count(*) FROM ship_sightings WHERE weather = 'Foggy'
SELECT light_colour , count(light_colour) FROM lighthouses GROUP BY light_colour
SELECT T2.lighthouse_name , T1.harbour_name FROM harbours AS T1 JOIN lighthouses AS T2 ON T1.harbour_id = T2.harbour_id WHERE T1.region_name = "North Sound"
SELECT ship_kind , max(cargo_tons) FROM ship_sightings GROUP BY ship_kind HAVING count(*) > 8
SELECT tool_name FROM tools WHERE tool_id NOT IN (SELECT tool_id FROM loans)
SELECT ship_name FROM ship_sightings WHERE weather = "Storm" UNION SELECT ship_name FROM ship_sightings WHERE cargo_tons > 5000
SELECT T3.keeper_name FROM lighthouses AS T1 JOIN postings AS T2 ON T1.lighthouse_id = T2.lighthouse_id JOIN keepers AS T3 ON T2.keeper_id = T3.keeper_id WHERE T1.lighthouse_name = "Gull Stack"
SELECT T1.keeper_name , count(*) FROM keepers AS T1 JOIN postings AS T2 ON T1.keeper_id = T2.keeper_id GROUP BY T1.keeper_id ORDER BY count(*) DESC
SELECT lighthouse_name FROM lighthouses WHERE lighthouse_id IN (SELECT lighthouse_id FROM ship_sightings WHERE ship_kind = "Whaler")
SELECT T2.region_name , max(T1.tower_height_m) FROM lighthouses AS T1 JOIN harbours AS T2 ON T1.harbour_id = T2.harbour_id WHERE T1.light_colour != "White" GROUP BY T2.region_name ORDER BY max(T1.tower_height_m) DESC LIMIT 2
SELECT tool_name FROM tools WHERE daily_fee <= 1.5
select count ( maker ) from tools
SELECT full_name FROM members ORDER BY joined_on ASC
SELECT min(daily_fee) , max(daily_fee) , category FROM tools GROUP BY category
SELECT tool_name FROM tools WHERE tool_name LIKE "%saw"
SELECT T1.full_name , T2.taken_on FROM members AS T1 JOIN loans AS T2 ON T1.member_id = T2.member_id WHERE T2.rating = 5
SELECT T2.tool_name FROM repairs AS T1 JOIN tools AS T2 ON T1.tool_id = T2.tool_id WHERE T1.parts_cost > 40
SELECT neighbourhood FROM members INTERSECT SELECT neighbourhood FROM volunteers
SELECT T1.tool_name , count(*) FROM tools AS T1 JOIN loans AS T2 ON T1.tool_id = T2.tool_id WHERE T1.category = "Garden" GROUP BY T1.tool_id
SELECT T2.full_name FROM repairs AS T1 JOIN volunteers AS T2 ON T1.volunteer_id = T2.volunteer_id GROUP BY T2.volunteer_id HAVING count(*) >= 3 ORDER BY T2.full_name
SELECT T1.full_name FROM members AS T1 JOIN loans AS T2 ON T1.member_id = T2.member_id JOIN tools AS T3 ON T2.tool_id = T3.tool_id WHERE T3.category = "Carpentry" AND T3.category != "Painting"
SELECT category , avg(weight_kg) FROM tools WHERE daily_fee > ( SELECT avg(daily_fee) FROM tools ) GROUP BY category
