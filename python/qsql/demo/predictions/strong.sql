SELECT COUNT(*) FROM species WHERE conservation_status = 'Endangered'
SELECT full_name FROM collectors WHERE joined_year >= 2005 AND joined_year <= 2012
SELECT COUNT(DISTINCT country) FROM accessions
SELECT f.family_name, COUNT(s.species_id) AS species_count FROM plant_families AS f INNER JOIN species AS s ON s.family_id = f.family_id GROUP BY f.family_id
SELECT full_name FROM collectors WHERE home_country IN ('Norway', 'Chile')
SELECT test_id, (seeds_sown - seeds_sprouted) AS not_sprouted FROM germination_tests WHERE strftime('%Y', tested_on) = '2021'
SELECT s.common_name FROM species AS s LEFT JOIN accessions AS a ON s.species_id = a.species_id WHERE a.accession_id IS NULL
SELECT latin_name, seed_mass_mg FROM species WHERE common_name LIKE '%bell%' ORDER BY seed_mass_mg DESC
SELECT pf.climate_zone, AVG(sp.lifespan_years) FROM plant_families AS pf JOIN species AS sp ON pf.family_id = sp.family_id GROUP BY pf.climate_zone ORDER BY pf.climate_zone ASC
SELECT full_name FROM collectors WHERE collector_id = (SELECT collector_id FROM accessions GROUP BY collector_id ORDER BY SUM(seed_count) DESC LIMIT 1)
SELECT common_name FROM species WHERE species_id IN (SELECT species_id FROM accessions WHERE country = 'Peru') AND species_id IN (SELECT species_id FROM accessions WHERE country = 'Kenya')
SELECT COUNT(1) FROM germination_tests WHERE temperature_c >= 20 AND seeds_sprouted > (SELECT AVG(seeds_sprouted) FROM germination_tests)
SELECT telescope_name FROM telescopes WHERE aperture_cm > 100
SELECT MAX(duration_s) FROM exposures WHERE filter_band = 'Red'
SELECT DISTINCT constellation FROM sky_targets WHERE target_kind = 'Galaxy'
SELECT staff_role, COUNT(*), AVG(years_experience) FROM astronomers GROUP BY staff_role
SELECT night_date FROM sessions WHERE telescope_id = (SELECT telescope_id FROM telescopes WHERE telescope_name = 'Old Juniper')
SELECT target_name, magnitude FROM sky_targets ORDER BY magnitude LIMIT 3
SELECT t.telescope_name FROM telescopes t WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.telescope_id = t.telescope_id AND s.cloud_cover_pct > 80)
SELECT full_name FROM astronomers WHERE years_experience > (SELECT AVG(years_experience) FROM astronomers);
SELECT DISTINCT T1.target_kind FROM sky_targets AS T1 JOIN exposures AS T2 ON T1.target_id = T2.target_id JOIN sessions AS T3 ON T2.session_id = T3.session_id WHERE T3.cloud_cover_pct < 10
SELECT a.full_name, SUM(e.duration_s) AS total_s FROM astronomers a JOIN sessions s ON a.astronomer_id = s.astronomer_id JOIN exposures e ON s.session_id = e.session_id GROUP BY a.astronomer_id HAVING SUM(e.duration_s) > 3000 ORDER BY total_s
SELECT home_institute FROM astronomers WHERE years_experience < 3 AND staff_role = 'Student' EXCEPT SELECT home_institute FROM astronomers WHERE staff_role = 'Staff'
SELECT t.telescope_name, COUNT(*) FROM telescopes AS t JOIN sessions AS s ON t.telescope_id = s.telescope_id WHERE s.cloud_cover_pct BETWEEN 0 AND 20 GROUP BY t.telescope_id HAVING COUNT(*) >= 2 ORDER BY t.telescope_name
SELECT lighthouse_name FROM lighthouses WHERE light_colour LIKE 'red'
SELECT AVG(tower_height_m) FROM lighthouses
SELECT COUNT(*) FROM ship_sightings WHERE weather = 'Fog'
SELECT light_colour, COUNT(*) AS number_of_lighthouses FROM lighthouses GROUP BY 1
SELECT l.lighthouse_name, h.harbour_name FROM lighthouses AS l JOIN harbours AS h ON l.harbour_id = h.harbour_id WHERE h.region_name = 'North Sound'
SELECT ship_kind, MAX(cargo_tons) AS largest FROM ship_sightings GROUP BY ship_kind HAVING COUNT(*) > 7
SELECT harbour_name FROM harbours WHERE harbour_id NOT IN (SELECT harbour_id FROM lighthouses)
SELECT ship_name FROM ship_sightings WHERE cargo_tons > 5000 UNION SELECT ship_name FROM ship_sightings WHERE weather = 'Storm'
SELECT k.keeper_name FROM postings AS p JOIN keepers AS k ON p.keeper_id = k.keeper_id JOIN lighthouses AS l ON p.lighthouse_id = l.lighthouse_id WHERE l.lighthouse_name = 'Gull Stack'
SELECT k.keeper_name, COUNT(p.posting_id) AS n_postings FROM keepers AS k JOIN postings AS p ON k.keeper_id = p.keeper_id GROUP BY k.keeper_id ORDER BY n_postings DESC LIMIT 1;
SELECT l.lighthouse_name FROM lighthouses l WHERE l.built_year < 1880 AND EXISTS (SELECT 1 FROM ship_sightings s WHERE s.lighthouse_id = l.lighthouse_id AND s.ship_kind = 'Whaler')
SELECT h.region_name, AVG(l.tower_height_m) AS avg_height FROM harbours h JOIN lighthouses l ON h.harbour_id = l.harbour_id WHERE l.light_colour <> 'White' GROUP BY h.region_name ORDER BY avg_height DESC LIMIT 2
SELECT tool_name FROM tools WHERE daily_fee <= 1.5
SELECT COUNT(DISTINCT maker) FROM tools
SELECT full_name FROM members ORDER BY joined_on ASC
SELECT category, MIN(daily_fee), MAX(daily_fee) FROM tools GROUP BY category
SELECT tool_name FROM tools WHERE instr(lower(tool_name), 'saw') > 0
SELECT T1.full_name, T2.taken_on FROM members AS T1 JOIN loans AS T2 ON T1.member_id = T2.member_id WHERE T2.rating = 5
SELECT t.tool_name FROM tools t WHERE EXISTS (SELECT 1 FROM repairs r WHERE r.tool_id = t.tool_id AND r.parts_cost > 40)
SELECT neighbourhood FROM members INTERSECT SELECT neighbourhood FROM volunteers
SELECT t.tool_name, COUNT(l.loan_id) AS n_loans FROM tools t LEFT JOIN loans l ON t.tool_id = l.tool_id WHERE t.category = 'Garden' GROUP BY t.tool_id
SELECT v.full_name FROM volunteers AS v JOIN repairs AS r ON v.volunteer_id = r.volunteer_id WHERE r.hours_spent > 1 GROUP BY v.volunteer_id HAVING COUNT(*) >= 3 ORDER BY v.full_name
SELECT m.full_name FROM loans AS l JOIN members AS m ON l.member_id = m.member_id JOIN tools AS t ON l.tool_id = t.tool_id WHERE t.category = 'Carpentry' EXCEPT SELECT m.full_name FROM loans AS l JOIN members AS m ON l.member_id = m.member_id JOIN tools AS t ON l.tool_id = t.tool_id WHERE t.category = 'Painting'
SELECT category, AVG(weight_kg) AS avg_weight FROM tools GROUP BY category HAVING AVG(daily_fee) > (SELECT AVG(daily_fee) FROM tools)
