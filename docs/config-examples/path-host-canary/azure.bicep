// Front Door: /static to the files, /api to the service, of which 5 % of the requests see the next version. Testers by a
// header would take a rule set that overrides the origin group.
// Nothing here checks this file.

param profileName string

resource profile 'Microsoft.Cdn/profiles@2024-02-01' existing = {
  name: profileName
}

param endpointName string

resource endpoint 'Microsoft.Cdn/profiles/afdEndpoints@2024-02-01' existing = {
  parent: profile
  name: endpointName
}

resource shop 'Microsoft.Cdn/profiles/customDomains@2024-02-01' existing = {
  parent: profile
  name: 'shop'
}

resource files 'Microsoft.Cdn/profiles/originGroups@2024-02-01' = {
  parent: profile
  name: 'files'
  properties: {
    healthProbeSettings: {
      probePath: '/health'
      probeProtocol: 'Http'
      probeRequestType: 'GET'
      probeIntervalInSeconds: 5
    }
    loadBalancingSettings: {
      sampleSize: 4
      successfulSamplesRequired: 3
      additionalLatencyInMilliseconds: 1000
    }
  }
}

resource s1 'Microsoft.Cdn/profiles/originGroups/origins@2024-02-01' = {
  parent: files
  name: 's1'
  properties: {
    hostName: '10-0-3-1.example.net'
    httpPort: 8080
    priority: 1
    weight: 1
  }
}

resource api 'Microsoft.Cdn/profiles/originGroups@2024-02-01' = {
  parent: profile
  name: 'api'
  properties: {
    healthProbeSettings: {
      probePath: '/health'
      probeProtocol: 'Http'
      probeRequestType: 'GET'
      probeIntervalInSeconds: 5
    }
    loadBalancingSettings: {
      sampleSize: 4
      successfulSamplesRequired: 3
      additionalLatencyInMilliseconds: 1000
    }
  }
}

resource v1 'Microsoft.Cdn/profiles/originGroups/origins@2024-02-01' = {
  parent: api
  name: 'v1'
  properties: {
    hostName: '10-0-1-1.example.net'
    httpPort: 8080
    priority: 1
    weight: 95
  }
}

resource v2 'Microsoft.Cdn/profiles/originGroups/origins@2024-02-01' = {
  parent: api
  name: 'v2'
  properties: {
    hostName: '10-0-2-1.example.net'
    httpPort: 8080
    priority: 1
    weight: 5
  }
}

resource toFiles 'Microsoft.Cdn/profiles/afdEndpoints/routes@2024-02-01' = {
  parent: endpoint
  name: 'toFiles'
  properties: {
    customDomains: [{ id: shop.id }]
    originGroup: { id: files.id }
    // Both: a pattern ends in /* and does not take the path itself.
    patternsToMatch: ['/static', '/static/*']
    supportedProtocols: ['Http']
    httpsRedirect: 'Disabled'
    linkToDefaultDomain: 'Disabled'
  }
  dependsOn: [s1]
}

resource toApi 'Microsoft.Cdn/profiles/afdEndpoints/routes@2024-02-01' = {
  parent: endpoint
  name: 'toApi'
  properties: {
    customDomains: [{ id: shop.id }]
    originGroup: { id: api.id }
    // Both: a pattern ends in /* and does not take the path itself.
    patternsToMatch: ['/api', '/api/*']
    supportedProtocols: ['Http']
    httpsRedirect: 'Disabled'
    linkToDefaultDomain: 'Disabled'
  }
  dependsOn: [v1]
}
