SELECT count(*) FROM species WHERE conservation_status = "Endangered"

SELECT full_name FROM collectors WHERE joined_year >= 2005 AND joined_year <= 2012
SELECT COUNT(DISTINCT country) FROM accessions

SELECT family_id , count(*) FROM species GROUP BY family_id
SELECT full_name FROM collectors WHERE home_country IN ('Norway', 'Chile')
SELECT test_id, (seeds_sown - seeds_sprouted) AS not_sprouted FROM germination_tests WHERE strftime('%Y', tested_on) = '2021'

SELECT common_name FROM species WHERE species_id NOT IN ( SELECT species_id FROM accessions )
SELECT latin_name, seed_mass_mg FROM species WHERE common_name LIKE '%bell%' ORDER BY seed_mass_mg DESC
SELECT pf.climate_zone, AVG(sp.lifespan_years) FROM plant_families AS pf JOIN species AS sp ON pf.family_id = sp.family_id GROUP BY pf.climate_zone ORDER BY pf.climate_zone ASC
SELECT T2.full_name FROM accessions AS T1 JOIN collectors AS T2 ON T1.collector_id = T2.collector_id GROUP BY T2.collector_id ORDER BY count(*) DESC LIMIT 1

SELECT common_name FROM species WHERE species_id IN (SELECT species_id FROM accessions WHERE country = 'Peru') AND species_id IN (SELECT species_id FROM accessions WHERE country = 'Kenya')
SELECT COUNT(1) FROM germination_tests WHERE temperature_c >= 20 AND seeds_sprouted > (SELECT AVG(seeds_sprouted) FROM germination_tests)
SELECT telescope_name FROM telescopes WHERE aperture_cm >= 100
SELECT MAX(duration_s) FROM exposures WHERE filter_band = 'Red'
SELECT DISTINCT constellation FROM sky_targets WHERE target_kind = 'Galaxy'
SELECT staff_role , count(*) , sum(years_experience) FROM astronomers GROUP BY staff_role


SELECT night_date FROM sessions WHERE telescope_id = (SELECT telescope_id FROM telescopes WHERE telescope_name = 'Old Juniper')
SELECT target_name, magnitude FROM sky_targets ORDER BY magnitude LIMIT 3

SELECT telescope_name FROM telescopes WHERE telescope_id IN (SELECT telescope_id FROM sessions WHERE cloud_cover_pct <= 80)
SELECT full_name FROM astronomers WHERE years_experience > (SELECT AVG(years_experience) FROM astronomers);
SELECT DISTINCT T1.target_kind FROM sky_targets AS T1 JOIN exposures AS T2 ON T1.target_id = T2.target_id JOIN sessions AS T3 ON T2.session_id = T3.session_id WHERE T3.cloud_cover_pct < 10
SELECT T3.full_name , sum(T1.duration_s) FROM exposures AS T1 JOIN sessions AS T2 ON T1.session_id = T2.session_id JOIN astronomers AS T3 ON T2.astronomer_id = T3.astronomer_id GROUP BY T3.astronomer_id HAVING ORDER BY sum(T1.duration_s) > 3000
SELECT home_institute FROM astronomers WHERE years_experience < 3 AND staff_role = 'Student' EXCEPT SELECT home_institute FROM astronomers WHERE staff_role = 'Staff'

SELECT t.telescope_name, COUNT(*) FROM telescopes AS t JOIN sessions AS s ON t.telescope_id = s.telescope_id WHERE s.cloud_cover_pct BETWEEN 0 AND 20 GROUP BY t.telescope_id HAVING COUNT(*) >= 2 ORDER BY t.telescope_name
SELECT lighthouse_name FROM lighthouses WHERE light_colour = 'Red'
SELECT AVG(tower_height_m) FROM lighthouses

SELECT COUNT(*) FROM ship_sightings WHERE weather = 'Fog'

SELECT light_colour , count(light_colour) FROM lighthouses GROUP BY light_colour
SELECT l.lighthouse_name, h.harbour_name FROM lighthouses AS l JOIN harbours AS h ON l.harbour_id = h.harbour_id WHERE h.region_name = 'North Sound'
SELECT ship_kind, MAX(cargo_tons) AS largest FROM ship_sightings GROUP BY ship_kind HAVING COUNT(*) > 7
SELECT tool_name FROM tools WHERE tool_id NOT IN (SELECT tool_id FROM loans)
SELECT ship_name FROM ship_sightings WHERE cargo_tons > 5000 UNION SELECT ship_name FROM ship_sightings WHERE weather = 'Storm'
SELECT k.keeper_name FROM postings AS p JOIN keepers AS k ON p.keeper_id = k.keeper_id JOIN lighthouses AS l ON p.lighthouse_id = l.lighthouse_id WHERE l.lighthouse_name = 'Gull Stack'
SELECT T1.keeper_name , count(*) FROM keepers AS T1 JOIN postings AS T2 ON T1.keeper_id = T2.keeper_id GROUP BY T1.keeper_id ORDER BY count(*) DESC

SELECT l.lighthouse_name FROM lighthouses l WHERE l.built_year < 1880 AND EXISTS (SELECT 1 FROM ship_sightings s WHERE s.lighthouse_id = l.lighthouse_id AND s.ship_kind = 'Whaler')
SELECT h.region_name, AVG(l.tower_height_m) AS avg_height FROM harbours h JOIN lighthouses l ON h.harbour_id = l.harbour_id WHERE l.light_colour <> 'White' GROUP BY h.region_name ORDER BY avg_height DESC LIMIT 2

